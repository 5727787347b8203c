"""Erased identifiers, and what the export reads."""

from kit.db import ddl, erasure_ddl

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    erasure_ddl.create_v1(ddl.logins())
