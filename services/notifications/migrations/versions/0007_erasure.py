"""Erased identifiers, and what the export reads."""

from alembic import op

from kit.db import ddl, erasure_ddl

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    logins = ddl.logins()
    erasure_ddl.create_v1(logins)
    op.execute(f'GRANT SELECT ON contacts TO "{logins.staff}"')
