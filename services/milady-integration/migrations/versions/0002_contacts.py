"""Students' contact data."""

from alembic import op

from kit.db import ddl
from kit.db.database import own_rows

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE contacts (
            student_id uuid NOT NULL CONSTRAINT pk_contacts PRIMARY KEY,
            name text,
            email text NOT NULL,
            as_of timestamptz NOT NULL
        )
        """
    )
    for statement in own_rows("contacts", owner=ddl.owner(), staff=("admin", "case_manager")):
        op.execute(statement)
    op.execute(f'GRANT SELECT ON contacts TO "{ddl.api_login()}"')
