"""What each login may do. Requests call one function, and read or write no table."""

from alembic import op

from kit.db import ddl

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    logins = ddl.logins()
    # the table of revision 0001, to which only the previous version's processes write
    journal = [*logins.close("journal"), *logins.previous_version("journal", "true")]
    for statement in (*logins.secure_delivery(), *journal):
        op.execute(statement)
