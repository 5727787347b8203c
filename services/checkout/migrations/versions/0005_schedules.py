"""What is due and when, money that does not come by Stripe, and the test clock."""

from alembic import op

from kit.db import ddl
from kit.db.database import own_rows

revision = "0005"
down_revision = "0004"

TIMES = "created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()"

TABLES = (
    f"""
    CREATE TABLE schedules (
        id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT pk_schedules PRIMARY KEY,
        purchase_id uuid NOT NULL CONSTRAINT fk_schedules_purchase_id_purchases REFERENCES purchases,
        student_id uuid NOT NULL,
        position integer NOT NULL CONSTRAINT ck_schedules_position CHECK (position > 0),
        kind text NOT NULL CONSTRAINT ck_schedules_kind
            CHECK (kind IN ('full', 'deposit', 'installment', 'subscription', 'remainder')),
        amount bigint NOT NULL CONSTRAINT ck_schedules_amount CHECK (amount > 0),
        currency text NOT NULL,
        due_at timestamptz NOT NULL,
        status text NOT NULL CONSTRAINT ck_schedules_status
            CHECK (status IN ('open', 'processing', 'overdue', 'paused', 'paid', 'waived', 'canceled')),
        attempts integer NOT NULL DEFAULT 0,
        next_attempt_at timestamptz,
        timers integer NOT NULL DEFAULT 0,
        asked integer NOT NULL DEFAULT 0,
        failed_debits integer NOT NULL DEFAULT 0,
        round integer NOT NULL DEFAULT 1,
        closed_because text CONSTRAINT ck_schedules_closed_because CHECK (closed_because IN ('ended', 'covered')),
        stripe_payment_intent_id text CONSTRAINT uq_schedules_stripe_payment_intent_id UNIQUE,
        stripe_invoice_id text CONSTRAINT uq_schedules_stripe_invoice_id UNIQUE,
        client_secret text,
        pay_url text,
        failure_code text,
        paid_at timestamptz,
        {TIMES},
        CONSTRAINT uq_schedules_purchase_id_position UNIQUE (purchase_id, position)
    )
    """,
    "CREATE INDEX ix_schedules_student_id ON schedules (student_id)",
    "CREATE INDEX ix_schedules_next_attempt_at ON schedules (next_attempt_at) WHERE status = 'open'",
    f"""
    CREATE TABLE manual_payments (
        id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT pk_manual_payments PRIMARY KEY,
        student_id uuid NOT NULL,
        purchase_id uuid NOT NULL,
        schedule_id uuid,
        method text NOT NULL CONSTRAINT ck_manual_payments_method
            CHECK (method IN ('cash', 'check', 'bank_transfer', 'waiver')),
        transaction_reference text NOT NULL,
        notes text,
        amount bigint NOT NULL CONSTRAINT ck_manual_payments_amount CHECK (amount >= 0),
        currency text NOT NULL,
        recorded_by text NOT NULL,
        {TIMES},
        CONSTRAINT uq_manual_payments_student_id_method_transaction_reference
            UNIQUE (student_id, method, transaction_reference)
    )
    """,
    "CREATE INDEX ix_manual_payments_purchase_id ON manual_payments (purchase_id)",
    "CREATE INDEX ix_manual_payments_schedule_id ON manual_payments (schedule_id)",
    f"""
    CREATE TABLE cancellations (
        purchase_id uuid NOT NULL CONSTRAINT pk_cancellations PRIMARY KEY
            CONSTRAINT fk_cancellations_purchase_id_purchases REFERENCES purchases,
        student_id uuid NOT NULL,
        reason text NOT NULL,
        paid bigint NOT NULL,
        refunded bigint NOT NULL,
        currency text NOT NULL,
        counted text[] NOT NULL,
        canceled_by text NOT NULL,
        {TIMES}
    )
    """,
    "CREATE INDEX ix_cancellations_student_id ON cancellations (student_id)",
    f"""
    CREATE TABLE sponsor_customers (
        code text NOT NULL CONSTRAINT pk_sponsor_customers PRIMARY KEY,
        stripe_customer_id text NOT NULL
            CONSTRAINT uq_sponsor_customers_stripe_customer_id UNIQUE,
        {TIMES}
    )
    """,
    "ALTER TABLE purchases ADD enrollment_id uuid",
    "CREATE INDEX ix_purchases_enrollment_id ON purchases (enrollment_id)",
    # what can run out, for the timer
    "CREATE INDEX ix_purchases_expires_at ON purchases (expires_at) "
    "WHERE how = 'schedule' AND state IN ('created', 'awaiting_payment', 'expired')",
    """
    CREATE TABLE test_clock (
        id boolean NOT NULL DEFAULT true CONSTRAINT pk_test_clock PRIMARY KEY CONSTRAINT ck_test_clock_one CHECK (id),
        ahead interval NOT NULL
    )
    """,
)

GRANTS = {
    "schedules": "SELECT, INSERT, UPDATE",
    "manual_payments": "SELECT, INSERT, UPDATE",
    "cancellations": "SELECT, INSERT",
    "sponsor_customers": "SELECT, INSERT, UPDATE",
    "test_clock": "SELECT, INSERT, UPDATE",
}


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
    for table in ("schedules", "manual_payments", "cancellations"):
        for statement in own_rows(table, owner=ddl.owner(), staff=("admin", "case_manager")):
            op.execute(statement)
    for table, rights in GRANTS.items():
        op.execute(f'GRANT {rights} ON {table} TO "{ddl.api_login()}"')
