"""What verifications have found and repaired."""

from kit.db import ddl, verification_ddl

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    verification_ddl.create(ddl.logins())
