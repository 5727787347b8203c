"""What each login may do: students read, and staff have a login of their own."""

from alembic import op

from kit.db import ddl

revision = "0004"
down_revision = "0003"

ADMIN = ("admin",)


def upgrade() -> None:
    logins = ddl.logins()
    statements = logins.secure_delivery(staff_jobs=("notification",))
    for table in ("notifications", "contacts", "documents"):
        statements += logins.split_own_rows(table, student="SELECT", staff=ADMIN)
    for statement in statements:
        op.execute(statement)
