"""Payments, refunds, refund requests and disputes."""

from alembic import op

from kit.db import ddl
from kit.db.database import own_rows

revision = "0004"
down_revision = "0003"

TIMES = "created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()"

TABLES = (
    f"""
    CREATE TABLE payments (
        id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT pk_payments PRIMARY KEY,
        purchase_id uuid NOT NULL,
        student_id uuid NOT NULL,
        item_slug text NOT NULL,
        item_name text NOT NULL,
        item_kind text NOT NULL,
        owner_id uuid,
        payer text NOT NULL CONSTRAINT ck_payments_payer CHECK (payer IN ('student', 'sponsor')),
        amount bigint NOT NULL CONSTRAINT ck_payments_amount CHECK (amount >= 0),
        tax bigint NOT NULL DEFAULT 0 CONSTRAINT ck_payments_tax CHECK (tax >= 0),
        refunded bigint NOT NULL DEFAULT 0 CONSTRAINT ck_payments_refunded CHECK (refunded >= 0),
        currency text NOT NULL,
        status text NOT NULL CONSTRAINT ck_payments_status
            CHECK (status IN ('requires_payment', 'processing', 'succeeded', 'failed', 'canceled')),
        method text,
        refs text[] NOT NULL,
        installment text,
        stripe_payment_intent_id text CONSTRAINT uq_payments_stripe_payment_intent_id UNIQUE,
        stripe_charge_id text,
        stripe_invoice_id text,
        manual_id text,
        disputed boolean NOT NULL DEFAULT false,
        failure_code text,
        paid_at timestamptz,
        {TIMES}
    )
    """,
    "CREATE INDEX ix_payments_purchase_id ON payments (purchase_id)",
    "CREATE INDEX ix_payments_student_id ON payments (student_id)",
    "CREATE INDEX ix_payments_owner_id ON payments (owner_id)",
    "CREATE INDEX ix_payments_installment ON payments (installment)",
    "CREATE INDEX ix_payments_refs ON payments USING gin (refs)",
    f"""
    CREATE TABLE refunds (
        id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT pk_refunds PRIMARY KEY,
        payment_id uuid NOT NULL,
        purchase_id uuid NOT NULL,
        student_id uuid NOT NULL,
        amount bigint NOT NULL CONSTRAINT ck_refunds_amount CHECK (amount > 0),
        currency text NOT NULL,
        reason text NOT NULL,
        origin text NOT NULL CONSTRAINT ck_refunds_origin
            CHECK (origin IN ('admin', 'student', 'request', 'cancellation', 'stripe')),
        requested_by text NOT NULL,
        status text NOT NULL CONSTRAINT ck_refunds_status
            CHECK (status IN ('pending', 'succeeded', 'failed', 'canceled')),
        stripe_refund_id text CONSTRAINT uq_refunds_stripe_refund_id UNIQUE,
        failure text,
        told boolean NOT NULL DEFAULT false,
        {TIMES}
    )
    """,
    "CREATE INDEX ix_refunds_payment_id ON refunds (payment_id)",
    "CREATE INDEX ix_refunds_purchase_id ON refunds (purchase_id)",
    "CREATE INDEX ix_refunds_student_id ON refunds (student_id)",
    f"""
    CREATE TABLE refund_requests (
        id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT pk_refund_requests PRIMARY KEY,
        payment_id uuid NOT NULL,
        purchase_id uuid NOT NULL,
        student_id uuid NOT NULL,
        reason text NOT NULL,
        status text NOT NULL DEFAULT 'pending' CONSTRAINT ck_refund_requests_status
            CHECK (status IN ('pending', 'approved', 'rejected')),
        decided_amount bigint,
        decided_by text,
        decided_at timestamptz,
        note text,
        refund_id uuid,
        {TIMES}
    )
    """,
    "CREATE INDEX ix_refund_requests_payment_id ON refund_requests (payment_id)",
    "CREATE INDEX ix_refund_requests_student_id ON refund_requests (student_id)",
    "CREATE UNIQUE INDEX uq_refund_requests_pending ON refund_requests (payment_id) WHERE status = 'pending'",
    f"""
    CREATE TABLE disputes (
        id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT pk_disputes PRIMARY KEY,
        stripe_dispute_id text NOT NULL CONSTRAINT uq_disputes_stripe_dispute_id UNIQUE,
        payment_id uuid NOT NULL,
        purchase_id uuid NOT NULL,
        student_id uuid NOT NULL,
        amount bigint NOT NULL,
        currency text NOT NULL,
        reason text NOT NULL,
        status text NOT NULL,
        funds text CONSTRAINT ck_disputes_funds CHECK (funds IN ('withdrawn', 'reinstated')),
        evidence_due_by timestamptz,
        history jsonb NOT NULL,
        closed_at timestamptz,
        {TIMES}
    )
    """,
    "CREATE INDEX ix_disputes_payment_id ON disputes (payment_id)",
    "CREATE INDEX ix_disputes_purchase_id ON disputes (purchase_id)",
)

STAFF = ("admin", "case_manager")
GRANTS = {
    "payments": "SELECT, INSERT, UPDATE",
    "refunds": "SELECT, INSERT, UPDATE",
    "refund_requests": "SELECT, INSERT, UPDATE",
    "disputes": "SELECT",
}


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
    for table in GRANTS:
        for statement in own_rows(table, owner=ddl.owner(), staff=STAFF):
            op.execute(statement)
    # a specialist sees the payments for what is theirs, and changes none of them
    op.execute(
        "CREATE POLICY own_revenue ON payments FOR SELECT USING (current_setting('app.role', true) = 'specialist' "
        "AND owner_id = NULLIF(current_setting('app.student_id', true), '')::uuid)"
    )
    op.execute(
        "CREATE POLICY own_revenue ON disputes FOR SELECT USING (current_setting('app.role', true) = 'specialist' "
        "AND EXISTS (SELECT FROM payments WHERE payments.id = payment_id))"
    )
    for table, rights in GRANTS.items():
        op.execute(f'GRANT {rights} ON {table} TO "{ddl.api_login()}"')
