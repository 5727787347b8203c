"""Case managers see the students of their caseload."""

from kit.db import caseload_ddl, ddl

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    caseload_ddl.create_v1(ddl.logins(), "enrollments", "provider_enrollments", "contacts")
