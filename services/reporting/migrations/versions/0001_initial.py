"""Events and audit records, which nobody changes, and the kit's tables."""

from alembic import op

from kit.db import ddl, delivery_ddl
from kit.db.row_security import policy, role_is

revision = "0001"
down_revision = None

EVENTS = (
    f"""
    CREATE TABLE events (
        event_id text NOT NULL,
        {delivery_ddl.MONTH},
        type text NOT NULL,
        source text NOT NULL,
        subject text NOT NULL,
        time timestamptz NOT NULL,
        received_at timestamptz NOT NULL DEFAULT now(),
        correlation_id text NOT NULL,
        causation_id text NOT NULL,
        purchase_id uuid,
        student_id uuid,
        refs text[] NOT NULL,
        data json NOT NULL,
        CONSTRAINT pk_events PRIMARY KEY (event_id, month)
    ) PARTITION BY RANGE (month)
    """,
    "CREATE INDEX ix_events_purchase_id ON events (purchase_id) WHERE purchase_id IS NOT NULL",
    "CREATE INDEX ix_events_student_id ON events (student_id) WHERE student_id IS NOT NULL",
    "CREATE INDEX ix_events_subject ON events (subject)",
    "CREATE INDEX ix_events_refs ON events USING gin (refs)",
)

AUDIT_RECORDS = (
    """
    CREATE TABLE audit_records (
        position bigint NOT NULL CONSTRAINT pk_audit_records PRIMARY KEY,
        id uuid NOT NULL CONSTRAINT uq_audit_records_id UNIQUE,
        event_id text NOT NULL CONSTRAINT uq_audit_records_event_id UNIQUE,
        service text NOT NULL,
        created_at timestamptz NOT NULL,
        actor_id text NOT NULL,
        actor_role text NOT NULL,
        action text NOT NULL,
        object_type text NOT NULL,
        object_id text NOT NULL,
        purchase_id uuid,
        student_id uuid,
        refs text[] NOT NULL,
        before json,
        after json,
        reason text,
        address text,
        trace_id text,
        previous_hash bytea NOT NULL,
        hash bytea NOT NULL
    )
    """,
    "CREATE INDEX ix_audit_records_created_at ON audit_records (created_at, id)",
    "CREATE INDEX ix_audit_records_purchase_id ON audit_records (purchase_id) WHERE purchase_id IS NOT NULL",
    "CREATE INDEX ix_audit_records_student_id ON audit_records (student_id) WHERE student_id IS NOT NULL",
    "CREATE INDEX ix_audit_records_actor_id ON audit_records (actor_id, created_at)",
    "CREATE INDEX ix_audit_records_action ON audit_records (action, created_at)",
    "CREATE INDEX ix_audit_records_object_id ON audit_records (object_id)",
    "CREATE INDEX ix_audit_records_refs ON audit_records USING gin (refs)",
)

# A new table gives the worker all rights on its rows (deploy/postgres/rights.sql), and so does a new partition.
MAINTENANCE = """
    CREATE FUNCTION maintain_event_partitions(keep interval) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DECLARE
        part regclass;
    BEGIN
        PERFORM maintain_events(greatest(keep, interval '60 days'));
        FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'events'::regclass LOOP
            IF has_table_privilege('{worker}', part, 'UPDATE, DELETE') THEN
                EXECUTE format('REVOKE UPDATE, DELETE ON %s FROM %I', part, '{worker}');
            END IF;
        END LOOP;
    END $$
"""


def upgrade() -> None:
    logins = ddl.logins()
    ddl.create_v1(api_login=logins.api)
    delivery_ddl.create_v2(api_login=logins.api)
    statements = [*EVENTS, *delivery_ddl.partitions("events"), *AUDIT_RECORDS]
    statements += [
        MAINTENANCE.format(worker=logins.worker),
        "REVOKE ALL ON FUNCTION maintain_event_partitions(interval) FROM PUBLIC",
        f'REVOKE ALL ON FUNCTION maintain_events(interval) FROM "{logins.worker}"',
        "SELECT maintain_event_partitions('100 years')",
        *logins.secure_delivery(),
    ]
    for table in ("events", "audit_records"):
        statements += [
            f'REVOKE UPDATE, DELETE ON {table} FROM "{logins.worker}"',
            *logins.close(table),
            policy("admins", table, logins.staff, "SELECT", role_is("admin")),
            f'GRANT SELECT ON {table} TO "{logins.staff}"',
        ]
    for statement in statements:
        op.execute(statement)
