"""The kit's tables: the gateway consumes requests to fetch events, and fetches them by a job."""

from alembic import op

from kit.db import ddl

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for statement in ddl.V1:
        if statement != ddl.WAKE:  # revision 0001 has created it
            op.execute(statement)
