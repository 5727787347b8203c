"""Erased identifiers, and events in the journal without personal data: another body of their id is no conflict."""

from alembic import op

from kit.db import ddl, erasure_ddl

revision = "0007"
down_revision = "0006"

# It allows what it allowed before, so the rows need not be read (NOT VALID).
SOURCES = """
    ALTER TABLE journal_events
        DROP CONSTRAINT ck_journal_events_source,
        ADD CONSTRAINT ck_journal_events_source
            CHECK (source IN ('webhook', 'fetched', 'previous', 'erased')) NOT VALID
"""
WRITE = """
    CREATE OR REPLACE FUNCTION journal_write(ids text[], types text[], bodies bytea[], signatures text[],
        sources text[])
    RETURNS TABLE (event_id text, is_new boolean, body bytea) LANGUAGE plpgsql AS $$
    #variable_conflict use_column
    DECLARE
        this_month CONSTANT date := date_trunc('month', now() AT TIME ZONE 'UTC');
        written text[];
    BEGIN
        WITH entry AS (
            INSERT INTO journal_entries (event_id, month)
            SELECT id, this_month FROM unnest(ids) AS given (id) ORDER BY id
            ON CONFLICT (event_id) DO NOTHING
            RETURNING event_id
        ), event AS (
            INSERT INTO journal_events (event_id, month, type, body, signature, source)
            SELECT id, this_month, type, body, signature, source
            FROM unnest(ids, types, bodies, signatures, sources) AS given (id, type, body, signature, source)
            JOIN entry ON entry.event_id = given.id
        ), due AS (
            INSERT INTO journal_due (event_id, month) SELECT event_id, this_month FROM entry
        )
        SELECT coalesce(array_agg(event_id), '{}') INTO written FROM entry;
        RETURN QUERY SELECT id, true, NULL::bytea FROM unnest(written) AS given (id);
        IF cardinality(written) < cardinality(ids) THEN
            RETURN QUERY
                SELECT entry.event_id, false, CASE WHEN event.source <> 'erased' THEN event.body END
                FROM (SELECT unnest(ids) EXCEPT SELECT unnest(written)) AS known (id)
                JOIN journal_entries AS entry ON entry.event_id = known.id
                LEFT JOIN journal_events AS event ON event.event_id = entry.event_id AND event.month = entry.month;
        END IF;
    END $$
"""


def upgrade() -> None:
    erasure_ddl.create_v1(ddl.logins())
    op.execute(SOURCES)
    op.execute(WRITE)
