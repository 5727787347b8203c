"""Counts, for each day, the events that were delivered, those that were fetched, and deliveries of known events.

They are counted by the function that writes the journal, in the same transaction. Days before this revision have no
counts. Processes of the previous version call the functions that they know, and their deliveries are counted, too; only
repetitions within one of their batches are not.
"""

from alembic import op

from kit.db import ddl

revision = "0008"
down_revision = "0007"

# A gateway counts in the row of its connection: two that share a row wait for each other's commits.
TABLE = """
    CREATE TABLE delivery_counts (
        day date NOT NULL,
        slot smallint NOT NULL,
        delivered bigint NOT NULL,
        fetched bigint NOT NULL,
        duplicates bigint NOT NULL,
        CONSTRAINT pk_delivery_counts PRIMARY KEY (day, slot)
    ) WITH (fillfactor = 50)
"""
# `repeated`: how many deliveries of the batch are of an event that is in `ids` already. The counts are written last: a
# transaction that has locked a row of them waits for no other, so this cannot deadlock.
WRITE = """
    CREATE FUNCTION journal_write(ids text[], types text[], bodies bytea[], signatures text[], sources text[],
        repeated integer)
    RETURNS TABLE (event_id text, is_new boolean, body bytea) LANGUAGE plpgsql AS $$
    #variable_conflict use_column
    DECLARE
        this_month CONSTANT date := date_trunc('month', now() AT TIME ZONE 'UTC');
        written text[];
        new_deliveries bigint;
        new_fetched bigint;
        known_deliveries bigint;
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
            RETURNING event_id, source
        ), due AS (
            INSERT INTO journal_due (event_id, month) SELECT event_id, this_month FROM entry
        )
        SELECT coalesce(array_agg(event_id), '{}'), count(*) FILTER (WHERE source = 'webhook'),
            count(*) FILTER (WHERE source = 'fetched')
        INTO written, new_deliveries, new_fetched FROM event;
        RETURN QUERY SELECT id, true, NULL::bytea FROM unnest(written) AS given (id);
        IF cardinality(written) < cardinality(ids) THEN
            RETURN QUERY
                SELECT entry.event_id, false, CASE WHEN event.source <> 'erased' THEN event.body END
                FROM (SELECT unnest(ids) EXCEPT SELECT unnest(written)) AS known (id)
                JOIN journal_entries AS entry ON entry.event_id = known.id
                LEFT JOIN journal_events AS event ON event.event_id = entry.event_id AND event.month = entry.month;
        END IF;
        known_deliveries := cardinality(array_positions(sources, 'webhook')) - new_deliveries + greatest(repeated, 0);
        IF new_deliveries + new_fetched + known_deliveries > 0 THEN
            INSERT INTO delivery_counts AS counted (day, slot, delivered, fetched, duplicates)
            VALUES ((now() AT TIME ZONE 'UTC')::date, pg_backend_pid() % 8, new_deliveries, new_fetched,
                known_deliveries)
            ON CONFLICT (day, slot) DO UPDATE SET
                delivered = counted.delivered + excluded.delivered,
                fetched = counted.fetched + excluded.fetched,
                duplicates = counted.duplicates + excluded.duplicates;
        END IF;
    END $$
"""
# Of the previous version, and of what is not delivered.
PREVIOUS = """
    CREATE OR REPLACE FUNCTION journal_write(ids text[], types text[], bodies bytea[], signatures text[],
        sources text[])
    RETURNS TABLE (event_id text, is_new boolean, body bytea) LANGUAGE plpgsql AS $$
    BEGIN
        RETURN QUERY SELECT * FROM journal_write(ids, types, bodies, signatures, sources, 0);
    END $$
"""
DELIVERIES = """
    CREATE FUNCTION journal_write_deliveries(ids text[], types text[], bodies bytea[], signatures text[],
        repeated integer)
    RETURNS TABLE (event_id text, is_new boolean, body bytea)
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_catalog, pg_temp AS $$
        SELECT * FROM journal_write(
            ids, types, bodies, signatures, array_fill('webhook'::text, ARRAY[cardinality(ids)]), repeated
        )
    $$
"""


def upgrade() -> None:
    for statement in (TABLE, WRITE, PREVIOUS, DELIVERIES):
        op.execute(statement)
    deliveries = "journal_write_deliveries(text[], text[], bytea[], text[], integer)"
    for function in ("journal_write(text[], text[], bytea[], text[], text[], integer)", deliveries):
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
    op.execute(f'GRANT EXECUTE ON FUNCTION {deliveries} TO "{ddl.api_login()}"')
