"""A lost event is asked for, and is repaired once it is back."""

from alembic import op

from kit.db import verification_ddl

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    for statement in verification_ddl.REQUESTS:
        op.execute(statement)
