"""An admin's export of what is stored here about a student is recorded in the audit trail."""

from alembic import op

from kit.db import ddl

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    for statement in ddl.logins().staff_publish("exports_of_staff", ("audit.recorded.v1",)):
        op.execute(statement)
