"""When a student was enrolled."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("ALTER TABLE enrollments ADD COLUMN enrolled_at timestamptz")
