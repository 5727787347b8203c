"""Until when the journal was compared with Stripe's events.

It begins 30 days ago, which is what Stripe lists, but not before the first event that this gateway has published: what
was paid before the school had Bursar is not Bursar's.
"""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE journal_reconciliation (
            reconciled_until timestamptz NOT NULL,
            next_at timestamptz NOT NULL DEFAULT now(),
            completed_at timestamptz
        )
        """
    )
    op.execute(
        """
        INSERT INTO journal_reconciliation (reconciled_until)
        SELECT greatest(coalesce(min(published_at), now()), now() - interval '30 days') FROM journal_entries
        """
    )
