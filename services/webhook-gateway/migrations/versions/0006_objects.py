"""Which journaled events report of which object, how far Stripe's objects were compared with them, and what differs.

`begins_at`: the first event that this gateway has published. Objects that are older are not Bursar's.
"""

from alembic import op

revision = "0006"
down_revision = "0005"

STATEMENTS = (
    """
    CREATE TABLE journal_objects (
        object_id text NOT NULL,
        event_id text NOT NULL,
        month date NOT NULL,
        CONSTRAINT pk_journal_objects PRIMARY KEY (object_id, event_id)
    )
    """,
    """
    CREATE TABLE object_comparison (
        begins_at timestamptz NOT NULL,
        indexed_until timestamptz NOT NULL,
        next_at timestamptz NOT NULL DEFAULT now(),
        since timestamptz,
        through timestamptz,
        completed_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    INSERT INTO object_comparison (begins_at, indexed_until)
    SELECT least(coalesce(min(published_at), now()), now()), coalesce(min(month)::timestamp AT TIME ZONE 'UTC', now())
    FROM journal_entries
    """,
    """
    CREATE TABLE object_cursors (
        object_kind text NOT NULL CONSTRAINT pk_object_cursors PRIMARY KEY,
        last_id text,
        completed boolean NOT NULL DEFAULT false,
        objects integer NOT NULL DEFAULT 0,
        restored integer NOT NULL DEFAULT 0
    )
    """,
    """
    CREATE TABLE differences (
        object_kind text NOT NULL,
        object_id text NOT NULL,
        field text NOT NULL,
        stripe text,
        published text,
        purchase_id uuid,
        refs jsonb NOT NULL,
        revision integer NOT NULL,
        first_seen_at timestamptz NOT NULL,
        last_seen_at timestamptz NOT NULL,
        closed_at timestamptz,
        CONSTRAINT pk_differences PRIMARY KEY (object_kind, object_id, field)
    )
    """,
    "CREATE INDEX ix_differences_open ON differences (object_kind, object_id) WHERE closed_at IS NULL",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
