"""Erased identifiers, and what the export reads."""

from kit.db import ddl, erasure_ddl

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    erasure_ddl.create_v1(ddl.logins())
