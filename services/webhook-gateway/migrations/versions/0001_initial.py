"""The journal: every verified event, raw. `event_count` is how many events were published for it."""

from alembic import op

from kit.db import ddl

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE journal (
            event_id text NOT NULL CONSTRAINT pk_journal PRIMARY KEY,
            type text NOT NULL,
            body bytea NOT NULL,
            received_at timestamptz NOT NULL DEFAULT now(),
            available_at timestamptz NOT NULL DEFAULT now(),
            attempts integer NOT NULL DEFAULT 0,
            published_at timestamptz,
            event_count integer
        )
        """
    )
    op.execute("CREATE INDEX ix_journal_due ON journal (available_at) WHERE published_at IS NULL")
    op.execute("CREATE INDEX ix_journal_received_at ON journal (received_at)")
    op.execute(ddl.WAKE)
    op.execute("CREATE TRIGGER wake AFTER INSERT ON journal FOR EACH STATEMENT EXECUTE FUNCTION wake_outgoing()")
    op.execute(f'GRANT SELECT, INSERT ON journal TO "{ddl.api_login()}"')
