"""Events that name neither a student nor a purchase are found by their references, without looking at all others."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute(
        "CREATE INDEX ix_events_links ON events USING gin (refs) WHERE student_id IS NULL AND purchase_id IS NULL"
    )
