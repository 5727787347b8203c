"""Requests of staff publish what they have done."""

from alembic import op

from kit.db import ddl

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    for statement in ddl.logins().staff_publish("audit_of_staff", ("audit.recorded.v1",)):
        op.execute(statement)
