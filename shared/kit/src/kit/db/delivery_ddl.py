"""Version 2 of the kit's tables: what is due stands in narrow tables, and what has happened in monthly partitions.

Frozen like `ddl.V1`: a service's revision 0003 calls `create_v2`. The previous version's processes keep running beside
it: they go on writing to `outbox` and publishing from it, see ADR 20.
"""

from __future__ import annotations

from alembic import op

MONTH = "month date NOT NULL DEFAULT date_trunc('month', now() AT TIME ZONE 'UTC')::date"
"""The column by which a table is partitioned."""

MONTHS_AHEAD = 2

# A relay or job worker that waits for a notification has a row here (see kit.messaging.wakeup). NOTIFY takes a lock of
# the whole cluster until the commit has ended, so only a commit that somebody waits for notifies.
IDLE = (
    """
    CREATE TABLE idle_workers (
        id uuid NOT NULL CONSTRAINT pk_idle_workers PRIMARY KEY,
        channel text NOT NULL,
        since timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE FUNCTION notify_idle() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    BEGIN
        IF EXISTS (SELECT FROM idle_workers WHERE channel = TG_ARGV[0]) THEN
            PERFORM pg_notify(TG_ARGV[0], '');
        END IF;
        RETURN NULL;
    END $$
    """,
    "REVOKE ALL ON FUNCTION notify_idle() FROM PUBLIC",
)


def notify(table: str, channel: str) -> str:
    """The trigger that notifies who is idle on `channel` of rows added to `table`. Replaces the one of version 1."""
    return (
        f"CREATE OR REPLACE TRIGGER wake AFTER INSERT ON {table} FOR EACH STATEMENT "
        f"EXECUTE FUNCTION notify_idle('{channel}')"
    )


def partitions(table: str, *, droppable: str = "true", options: str = "") -> tuple[str, ...]:
    """Statements for `table`, which is PARTITION BY RANGE (month): a default partition, the function
    `maintain_<table>(keep interval)`, and a first call of it.

    The function creates the partitions of this month and the next two, and drops those whose month ended longer than
    `keep` ago. It runs with the rights of its owner, so that a login without DDL rights may call it. A partition is
    attached after it is filled: this does not wait for writers of other partitions, nor they for it. It waits for no
    lock longer than half a second; what cannot be dropped then is dropped by a later call. It does nothing if another
    call is at work.

    `droppable`: a condition on the month `each_month`; as long as it is false, that month's partition stays.
    `options`: a WITH clause of its partitions, which a partitioned table cannot have.
    """
    return (
        f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT{options}",
        f"""
        CREATE FUNCTION maintain_{table}(keep interval) RETURNS void
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '500ms' AS $$
        DECLARE
            this_month date := date_trunc('month', now() AT TIME ZONE 'UTC')::date;
            each_month date;
            part text;
        BEGIN
            IF NOT pg_try_advisory_xact_lock(hashtextextended('maintain_{table}', 0)) THEN
                RETURN;
            END IF;
            FOR each_month IN
                SELECT generate_series(this_month, this_month + interval '{MONTHS_AHEAD} months', interval '1 month')
            LOOP
                part := '{table}_' || to_char(each_month, 'YYYY_MM');
                CONTINUE WHEN to_regclass(part) IS NOT NULL;
                EXECUTE format(
                    'CREATE TABLE %I (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE){options}', part
                );
                EXECUTE format(
                    'WITH early AS (DELETE FROM {table}_default WHERE month = %L RETURNING *) '
                    'INSERT INTO %I SELECT * FROM early', each_month, part
                );
                EXECUTE format(
                    'ALTER TABLE {table} ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                    part, each_month, (each_month + interval '1 month')::date
                );
            END LOOP;
            FOR part, each_month IN
                SELECT relname, to_date(right(relname, 7), 'YYYY_MM')
                FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
                WHERE inhparent = '{table}'::regclass AND relname ~ '_[0-9]{{4}}_[0-9]{{2}}$'
            LOOP
                IF (each_month + interval '1 month') AT TIME ZONE 'UTC' + keep < now() AND ({droppable}) THEN
                    BEGIN
                        EXECUTE format('DROP TABLE %I', part);
                    EXCEPTION WHEN lock_not_available THEN
                        RAISE LOG 'partition % is in use', part;
                    END;
                END IF;
            END LOOP;
        END $$
        """,  # noqa: E501, S608  # names from this module; the text is frozen
        f"REVOKE ALL ON FUNCTION maintain_{table}(interval) FROM PUBLIC",
        f"SELECT maintain_{table}('100 years')",
    )


OUTBOX = (
    f"""
    CREATE TABLE outbox_messages (
        id bigint GENERATED ALWAYS AS IDENTITY,
        {MONTH},
        message_key text NOT NULL,
        exchange text NOT NULL,
        routing_key text NOT NULL,
        headers jsonb NOT NULL,
        body bytea NOT NULL,
        mandatory boolean NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT pk_outbox_messages PRIMARY KEY (id, month),
        CONSTRAINT uq_outbox_messages_message_key UNIQUE (message_key, month)
    ) PARTITION BY RANGE (month)
    """,
    # A row leaves this table when its message is published, so it is vacuumed by what has left, not by a share of it.
    """
    CREATE TABLE outbox_due (
        id bigint NOT NULL CONSTRAINT pk_outbox_due PRIMARY KEY,
        month date NOT NULL,
        available_at timestamptz NOT NULL DEFAULT now(),
        attempts integer NOT NULL DEFAULT 0,
        last_error text
    ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
            autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000)
    """,
    "CREATE INDEX ix_outbox_due_available_at ON outbox_due (available_at, id)",
    *partitions(
        "outbox_messages",
        droppable="coalesce((SELECT min(id) FROM outbox_due)"
        " > (SELECT max(id) FROM outbox_messages WHERE month = each_month), true)",
    ),
    notify("outbox_due", "outbox"),
    # For the previous version's processes, which still insert into `outbox`: the same key twice is one message.
    """
    CREATE FUNCTION skip_duplicate_message() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    BEGIN
        IF EXISTS (SELECT FROM outbox_messages WHERE message_key = NEW.message_key) THEN
            RETURN NULL;
        END IF;
        RETURN NEW;
    END $$
    """,
    "REVOKE ALL ON FUNCTION skip_duplicate_message() FROM PUBLIC",
    "CREATE TRIGGER skip_duplicate BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION skip_duplicate_message()",
)

# The table of version 1 becomes the partition of this month; all of its rows count as received in this month.
INBOX = (
    """
    DO $$
    DECLARE
        this_month date := date_trunc('month', now() AT TIME ZONE 'UTC')::date;
        part text := 'inbox_' || to_char(this_month, 'YYYY_MM');
    BEGIN
        ALTER TABLE inbox DROP CONSTRAINT pk_inbox;
        DROP INDEX ix_inbox_received_at;
        EXECUTE format('ALTER TABLE inbox ADD COLUMN month date NOT NULL DEFAULT %L', this_month);
        ALTER TABLE inbox ALTER COLUMN month SET DEFAULT date_trunc('month', now() AT TIME ZONE 'UTC')::date;
        EXECUTE format('ALTER TABLE inbox RENAME TO %I', part);
        CREATE TABLE inbox (
            queue text NOT NULL,
            event_id text NOT NULL,
            received_at timestamptz NOT NULL DEFAULT now(),
            month date NOT NULL DEFAULT date_trunc('month', now() AT TIME ZONE 'UTC')::date,
            CONSTRAINT pk_inbox PRIMARY KEY (queue, event_id, month)
        ) PARTITION BY RANGE (month);
        EXECUTE format(
            'ALTER TABLE inbox ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            part, this_month, (this_month + interval '1 month')::date
        );
    END $$
    """,
    *partitions("inbox"),
)

JOBS = (
    "ALTER TABLE jobs ADD COLUMN lease uuid",
    "CREATE INDEX ix_jobs_done ON jobs (done_at) WHERE done_at IS NOT NULL",
    "CREATE INDEX ix_jobs_failed ON jobs (failed_at) WHERE failed_at IS NOT NULL",
    "CREATE INDEX ix_jobs_payload ON jobs (done_at) WHERE done_at IS NOT NULL AND payload <> '{}'",
    notify("jobs", "jobs"),
)

# In the order in which a consumer's transaction locks them, so that none waits for the other.
LOCKS = (
    "LOCK TABLE inbox IN ACCESS EXCLUSIVE MODE",
    "LOCK TABLE outbox IN SHARE ROW EXCLUSIVE MODE",
    "LOCK TABLE jobs IN SHARE ROW EXCLUSIVE MODE",
)

V2 = (
    *LOCKS,
    *IDLE,
    *OUTBOX,
    *INBOX,
    *JOBS,
    "CREATE INDEX ix_idempotency_keys_created_at ON idempotency_keys (created_at)",
)


def create_v2(*, api_login: str) -> None:
    """Brings the tables of version 1 to version 2, and grants the API's login its rights.

    The API may add messages, and read which keys are there. It cannot read message bodies.
    """
    for statement in V2:
        op.execute(statement)
    op.execute(f'GRANT INSERT, SELECT (id, month, message_key) ON outbox_messages TO "{api_login}"')
    op.execute(f'GRANT INSERT ON outbox_due TO "{api_login}"')
