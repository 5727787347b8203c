"""What verifications have found and repaired."""

from kit.db import ddl, verification_ddl

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    verification_ddl.create(ddl.logins())
