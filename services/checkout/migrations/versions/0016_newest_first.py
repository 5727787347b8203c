"""The lists of admins are read newest first, a page at a time: without these, all rows were sorted for each page."""

from alembic import op

revision = "0016"
down_revision = "0015"

LISTED = ("purchases", "payments", "documents")


def upgrade() -> None:
    for table in LISTED:
        op.execute(f"CREATE INDEX ix_{table}_created_at ON {table} (created_at, id)")
