"""What each login may do: students only complete what they have, and staff have a login of their own."""

from alembic import op

from kit.db import ddl

revision = "0004"
down_revision = "0003"

STAFF = ("admin", "case_manager")


def upgrade() -> None:
    logins = ddl.logins()
    statements = logins.secure_delivery(events=("enrollment.progressed.v1", "enrollment.completed.v1"))
    for table in ("enrollments", "project_progress", "step_progress"):
        statements += logins.split_own_rows(table, staff=STAFF)
    statements.append(
        f'CREATE POLICY only_completes ON enrollments AS RESTRICTIVE FOR UPDATE TO "{logins.api}" '
        "USING (true) WITH CHECK (status = 'completed')"
    )
    for statement in statements:
        op.execute(statement)
