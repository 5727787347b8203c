"""The kit's tables as DDL, frozen per version: a service's first migration calls `create_v1`."""

from __future__ import annotations

from alembic import op

from kit.db.row_security import Logins

WAKE = """
    CREATE FUNCTION wake_outgoing() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify('outgoing', '');
        RETURN NULL;
    END $$
"""

V1 = (
    """
    CREATE TABLE outbox (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_outbox PRIMARY KEY,
        message_key text NOT NULL CONSTRAINT uq_outbox_message_key UNIQUE,
        exchange text NOT NULL,
        routing_key text NOT NULL,
        headers jsonb NOT NULL,
        body bytea NOT NULL,
        mandatory boolean NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        available_at timestamptz NOT NULL DEFAULT now(),
        published_at timestamptz,
        attempts integer NOT NULL DEFAULT 0,
        last_error text
    )
    """,
    "CREATE INDEX ix_outbox_due ON outbox (available_at, id) WHERE published_at IS NULL",
    "CREATE INDEX ix_outbox_published ON outbox (published_at) WHERE published_at IS NOT NULL",
    """
    CREATE TABLE inbox (
        queue text NOT NULL,
        event_id text NOT NULL,
        received_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT pk_inbox PRIMARY KEY (queue, event_id)
    )
    """,
    "CREATE INDEX ix_inbox_received_at ON inbox (received_at)",
    """
    CREATE TABLE facts (
        event_id text NOT NULL CONSTRAINT pk_facts PRIMARY KEY,
        group_id uuid NOT NULL,
        type text NOT NULL,
        time timestamptz NOT NULL,
        body jsonb NOT NULL,
        received_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX ix_facts_group_id ON facts (group_id)",
    """
    CREATE TABLE fact_keys (
        key text NOT NULL CONSTRAINT pk_fact_keys PRIMARY KEY,
        group_id uuid NOT NULL
    )
    """,
    "CREATE INDEX ix_fact_keys_group_id ON fact_keys (group_id)",
    """
    CREATE TABLE jobs (
        id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT pk_jobs PRIMARY KEY,
        kind text NOT NULL,
        key text NOT NULL,
        payload jsonb NOT NULL,
        cause jsonb,
        created_at timestamptz NOT NULL DEFAULT now(),
        available_at timestamptz NOT NULL DEFAULT now(),
        attempts integer NOT NULL DEFAULT 0,
        done_at timestamptz,
        failed_at timestamptz,
        last_error text,
        CONSTRAINT uq_jobs_kind_key UNIQUE (kind, key)
    )
    """,
    "CREATE INDEX ix_jobs_due ON jobs (available_at) WHERE done_at IS NULL AND failed_at IS NULL",
    # Wakes the relay and the job worker when a transaction that has added to these tables commits.
    WAKE,
    "CREATE TRIGGER wake AFTER INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION wake_outgoing()",
    "CREATE TRIGGER wake AFTER INSERT ON jobs FOR EACH STATEMENT EXECUTE FUNCTION wake_outgoing()",
    # A key's row is the lock. Transactions whose facts share a key wait for each other on its row, and a transaction
    # that works on a group holds the rows of all its keys. Rows are locked in key order, and read again until no other
    # transaction has changed the groups while this one waited.
    """
    CREATE FUNCTION merge_fact(new_id text, new_type text, new_time timestamptz, new_body jsonb, new_keys text[])
    RETURNS SETOF facts LANGUAGE plpgsql AS $$
    #variable_conflict use_column
    DECLARE
        own uuid := gen_random_uuid();
        target uuid;
        named uuid[];
        now_named uuid[];
    BEGIN
        INSERT INTO fact_keys (key, group_id)
            SELECT each, own FROM unnest(new_keys) AS each ORDER BY each
            ON CONFLICT (key) DO NOTHING;
        LOOP
            SELECT array_agg(DISTINCT group_id ORDER BY group_id) INTO named FROM fact_keys WHERE key = ANY (new_keys);
            PERFORM 1 FROM fact_keys WHERE group_id = ANY (named) ORDER BY key FOR UPDATE;
            SELECT array_agg(DISTINCT group_id ORDER BY group_id) INTO now_named
                FROM fact_keys WHERE key = ANY (new_keys);
            EXIT WHEN named = now_named;
        END LOOP;
        SELECT each INTO target FROM unnest(named) AS each ORDER BY each = own, each LIMIT 1;
        IF cardinality(named) > 1 THEN
            UPDATE fact_keys SET group_id = target WHERE group_id = ANY (named) AND group_id <> target;
            UPDATE facts SET group_id = target WHERE group_id = ANY (named) AND group_id <> target;
        END IF;
        INSERT INTO facts (event_id, group_id, type, time, body)
            VALUES (new_id, target, new_type, new_time, new_body)
            ON CONFLICT (event_id) DO NOTHING;
        RETURN QUERY SELECT * FROM facts WHERE group_id = target ORDER BY event_id;
    END $$
    """,
    """
    CREATE TABLE idempotency_keys (
        caller text NOT NULL,
        key text NOT NULL,
        request_hash text NOT NULL,
        status integer,
        body jsonb,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT pk_idempotency_keys PRIMARY KEY (caller, key)
    )
    """,
)


def create_v1(*, api_login: str) -> None:
    """Creates outbox, inbox, facts, jobs and idempotency keys, and grants the API's login its rights.

    The API may add to the outbox and to the jobs, and read the state of jobs. It cannot read message bodies and job
    payloads, which may contain personal data.
    """
    for statement in V1:
        op.execute(statement)
    op.execute(f'GRANT INSERT, SELECT (id, message_key) ON outbox TO "{api_login}"')
    job_state = "id, kind, key, created_at, available_at, attempts, done_at, failed_at, last_error"
    op.execute(f'GRANT INSERT, SELECT ({job_state}) ON jobs TO "{api_login}"')
    op.execute(f'GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO "{api_login}"')


def worker_login() -> str:
    """The login of consumers and relay. By convention, the one that runs migrations is called `<worker>_owner`."""
    name: str = op.get_bind().exec_driver_sql("SELECT current_user").scalar_one()
    return name.removesuffix("_owner")


owner = worker_login
"""As revisions 0001 and 0002 call it: from the time when consumers and relay used the owner's login."""


def api_login() -> str:
    """The login for the requests of students and the public."""
    return f"{worker_login()}_api"


def logins() -> Logins:
    """Who has rights in this database. The previous version's processes keep theirs for a day, if there is one.

    In a new database, the table of revisions was created by this very transaction.
    """
    is_new = "SELECT xmin = pg_current_xact_id()::xid FROM pg_class WHERE oid = 'alembic_version'::regclass"
    in_a_day = "SELECT (now() + interval '1 day')::text"
    until = None if op.get_bind().exec_driver_sql(is_new).scalar_one() else op.get_bind().exec_driver_sql(in_a_day)
    return Logins(
        worker=worker_login(),
        api=api_login(),
        staff=f"{worker_login()}_staff",
        until=None if until is None else until.scalar_one(),
    )
