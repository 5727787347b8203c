"""The journal as an immutable, partitioned table with a narrow table of what is due, and version 2 of the kit's tables.

Journal rows carry Stripe's signature, and the relay verifies it again before it publishes. The API's login has no right
to the tables: it calls one function, which marks what it writes as deliveries.

The table `journal` of revision 0001 stays until processes of the previous version have ended: what they write to it is
copied, for a day.
"""

from alembic import op

from kit.db import ddl, delivery_ddl

revision = "0003"
down_revision = "0002"

# `month` is the month in which the event was received, of journal_events' partition.
TABLES = (
    # Every event that was ever journaled, and what was published for it. Unique across all partitions.
    """
    CREATE TABLE journal_entries (
        event_id text NOT NULL CONSTRAINT pk_journal_entries PRIMARY KEY,
        month date NOT NULL,
        published_at timestamptz,
        event_count integer,
        translation bytea
    ) WITH (fillfactor = 80)
    """,
    f"""
    CREATE TABLE journal_events (
        event_id text NOT NULL,
        {delivery_ddl.MONTH},
        type text NOT NULL,
        body bytea NOT NULL,
        signature text,
        source text NOT NULL CONSTRAINT ck_journal_events_source CHECK (source IN ('webhook', 'fetched', 'previous')),
        received_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT pk_journal_events PRIMARY KEY (event_id, month)
    ) PARTITION BY RANGE (month)
    """,
    "CREATE INDEX ix_journal_events_received_at ON journal_events USING brin (received_at) WITH (autosummarize = on)",
    # Rows leave it when they are published.
    """
    CREATE TABLE journal_due (
        event_id text NOT NULL CONSTRAINT pk_journal_due PRIMARY KEY,
        month date NOT NULL,
        lane text NOT NULL DEFAULT 'live' CONSTRAINT ck_journal_due_lane CHECK (lane IN ('live', 'replay')),
        available_at timestamptz NOT NULL DEFAULT now(),
        attempts integer NOT NULL DEFAULT 0,
        last_error text
    ) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)
    """,
    "CREATE INDEX ix_journal_due_lane_available_at_event_id ON journal_due (lane, available_at, event_id)",
    "CREATE INDEX ix_journal_due_deferred ON journal_due (attempts) WHERE attempts > 0",
    delivery_ddl.notify("journal_due", "journal"),
    # Rows up to 8 kB are stored as they are: most events are smaller, and compressing one takes several times as long
    # as writing it.
    *delivery_ddl.partitions(
        "journal_events",
        droppable="NOT EXISTS (SELECT FROM journal_due WHERE month = each_month)",
        options=" WITH (toast_tuple_target = 8160)",
    ),
    # One row: when the next events of the lane `replay` may be published, by whichever relay is first.
    "CREATE TABLE journal_replay (next_at timestamptz NOT NULL)",
    "INSERT INTO journal_replay VALUES (now())",
)

# Entries are inserted in the order of their ids, so that two gateways that write the same events cannot deadlock.
# A known event is returned with its body, if that is still there. The second query has a snapshot of its own: it sees
# the events that the first one had to wait for.
WRITE = """
    CREATE FUNCTION journal_write(ids text[], types text[], bodies bytea[], signatures text[], sources text[])
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
                SELECT entry.event_id, false, event.body
                FROM (SELECT unnest(ids) EXCEPT SELECT unnest(written)) AS known (id)
                JOIN journal_entries AS entry ON entry.event_id = known.id
                LEFT JOIN journal_events AS event ON event.event_id = entry.event_id AND event.month = entry.month;
        END IF;
    END $$
"""
DELIVERIES = """
    CREATE FUNCTION journal_write_deliveries(ids text[], types text[], bodies bytea[], signatures text[])
    RETURNS TABLE (event_id text, is_new boolean, body bytea)
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_catalog, pg_temp AS $$
        SELECT * FROM journal_write(
            ids, types, bodies, signatures, array_fill('webhook'::text, ARRAY[cardinality(ids)])
        )
    $$
"""
# What processes of the previous version write. They keep no signature, so this ends a day after the migration.
PREVIOUS = """
    CREATE FUNCTION journal_copy_previous() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_catalog, pg_temp AS $$
    BEGIN
        IF now() > '{until}' THEN
            RAISE EXCEPTION 'this process is of a version that has been replaced: restart it with the current one';
        END IF;
        PERFORM journal_write(ARRAY[NEW.event_id], ARRAY[NEW.type], ARRAY[NEW.body], ARRAY[NULL::text],
            ARRAY['previous']);
        RETURN NULL;
    END $$
"""
COPY = (
    """
    DO $$
    DECLARE
        each_month date;
        part text;
    BEGIN
        FOR each_month IN SELECT DISTINCT date_trunc('month', received_at AT TIME ZONE 'UTC')::date FROM journal LOOP
            part := 'journal_events_' || to_char(each_month, 'YYYY_MM');
            CONTINUE WHEN to_regclass(part) IS NOT NULL;
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF journal_events FOR VALUES FROM (%L) TO (%L) '
                'WITH (toast_tuple_target = 8160)',
                part, each_month, (each_month + interval '1 month')::date
            );
        END LOOP;
    END $$
    """,
    """
    INSERT INTO journal_entries (event_id, month, published_at, event_count)
    SELECT event_id, date_trunc('month', received_at AT TIME ZONE 'UTC'), published_at, event_count FROM journal
    """,
    """
    INSERT INTO journal_events (event_id, month, type, body, source, received_at)
    SELECT event_id, date_trunc('month', received_at AT TIME ZONE 'UTC'), type, body, 'previous', received_at
    FROM journal ORDER BY received_at
    """,
    """
    INSERT INTO journal_due (event_id, month, available_at, attempts)
    SELECT event_id, date_trunc('month', received_at AT TIME ZONE 'UTC'), available_at, attempts
    FROM journal WHERE published_at IS NULL
    """,
)


def upgrade() -> None:
    api_login = ddl.api_login()
    delivery_ddl.create_v2(api_login=api_login)
    for statement in (*TABLES, WRITE, DELIVERIES):
        op.execute(statement)
    until = op.get_bind().exec_driver_sql("SELECT (now() + interval '1 day')::text").scalar_one()
    op.execute(PREVIOUS.format(until=until))
    op.execute(
        "CREATE TRIGGER copy_previous AFTER INSERT ON journal FOR EACH ROW EXECUTE FUNCTION journal_copy_previous()"
    )
    for statement in COPY:
        op.execute(statement)
    deliveries = "journal_write_deliveries(text[], text[], bytea[], text[])"
    for function in (
        "journal_write(text[], text[], bytea[], text[], text[])",
        deliveries,
        "journal_copy_previous()",
    ):
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
    op.execute(f'GRANT EXECUTE ON FUNCTION {deliveries} TO "{api_login}"')
