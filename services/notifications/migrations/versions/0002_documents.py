"""Receipts and invoices that go along with mails. The API's login has no business with them."""

from alembic import op

from kit.db import ddl
from kit.db.database import own_rows

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE documents (
            id uuid NOT NULL CONSTRAINT pk_documents PRIMARY KEY,
            student_id uuid NOT NULL,
            filename text NOT NULL,
            content bytea NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )
    for statement in own_rows("documents", owner=ddl.owner()):
        op.execute(statement)
    op.execute("ALTER TABLE notifications ADD COLUMN attachment text")
