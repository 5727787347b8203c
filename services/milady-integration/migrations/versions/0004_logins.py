"""What each login may do: students read, and staff have a login of their own."""

from alembic import op

from kit.db import ddl
from kit.db.row_security import policy, role_is

revision = "0004"
down_revision = "0003"

STAFF = ("admin", "case_manager")


def upgrade() -> None:
    logins = ddl.logins()
    statements = [
        *logins.secure_delivery(
            staff_events=("milady.enrolled.v1", "milady.withdrawn.v1", "milady.failed.v1"),
            staff_jobs=("milady.enroll", "milady.withdraw", "milady.adopt"),
        ),
        *logins.close("milady_programs"),
        policy("staff_rows", "milady_programs", logins.staff, "ALL", role_is(*STAFF)),
        *logins.previous_version("milady_programs", role_is(*STAFF)),
    ]
    for table in ("enrollments", "provider_enrollments", "contacts"):
        statements += logins.split_own_rows(table, student="SELECT", staff=STAFF)
    for statement in statements:
        op.execute(statement)
