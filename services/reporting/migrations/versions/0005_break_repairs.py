"""For which breaks the missing events were asked."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute("ALTER TABLE invariant_breaks ADD COLUMN requested_at timestamptz")
