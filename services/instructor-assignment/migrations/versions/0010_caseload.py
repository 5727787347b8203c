"""Case managers see the students of their caseload."""

from kit.db import caseload_ddl, ddl

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    caseload_ddl.create_v1(ddl.logins(), "ai_instructor_assignments")
