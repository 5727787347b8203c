"""What each login may do: students read, and staff have a login of their own."""

from alembic import op

from kit.db import ddl
from kit.db.row_security import policy, role_is

revision = "0004"
down_revision = "0003"

ADMIN, STAFF = ("admin",), ("admin", "case_manager")


def upgrade() -> None:
    logins = ddl.logins()
    statements = [
        *logins.secure_delivery(
            staff_events=("instructor.assigned.v1", "instructor.released.v1", "instructor.unavailable.v1")
        ),
        *logins.split_own_rows("ai_instructor_assignments", student="SELECT", staff=STAFF),
        *logins.close("ai_instructors"),
        policy("everybody_reads", "ai_instructors", logins.api, "SELECT", "true"),
        policy("admins_write", "ai_instructors", logins.staff, "ALL", role_is(*ADMIN)),
        *logins.previous_version("ai_instructors", role_is(*ADMIN)),
    ]
    for statement in statements:
        op.execute(statement)
