"""Installments that are invoiced, books for every payment, sponsors' invoices, and the ends of purchases."""

from alembic import op

from kit.db import ddl
from kit.db.database import own_rows

revision = "0002"
down_revision = "0001"

CATALOG: tuple[str, ...] = (
    "ALTER TABLE items DROP CONSTRAINT ck_items_kind, ADD CONSTRAINT ck_items_kind "
    "CHECK (kind IN ('program', 'track', 'course', 'product', 'service', 'merchandise', 'bundle', 'membership'))",
    "ALTER TABLE items ADD COLUMN taught boolean NOT NULL DEFAULT true",
    "ALTER TABLE purchases ADD COLUMN untaught boolean NOT NULL DEFAULT false",
    # what guests have reserved and not paid
    "ALTER TABLE promotion_codes ADD COLUMN guest_holds integer NOT NULL DEFAULT 0 "
    "CONSTRAINT ck_promotion_codes_guest_holds CHECK (guest_holds >= 0)",
    "ALTER TABLE redemptions ADD COLUMN guest boolean NOT NULL DEFAULT false",
)
# A payment that names nobody or nothing that checkout has. `pending`: its match may still arrive.
PURCHASES: tuple[str, ...] = (
    "ALTER TABLE purchases DROP CONSTRAINT ck_purchases_payment_flow",
    "ALTER TABLE purchases ADD CONSTRAINT ck_purchases_payment_flow "
    "CHECK (payment_flow IN ('page', 'intent', 'installments', 'membership', 'external'))",
    "ALTER TABLE purchases ADD COLUMN state_reason text, ADD COLUMN shortfall bigint, "
    "ADD COLUMN accepted bigint NOT NULL DEFAULT 0, ADD COLUMN accepted_by text, "
    "ADD COLUMN acceptance_reason text, ADD COLUMN recorded_by text, "
    "ADD COLUMN subscription_status text, ADD COLUMN next_charge_at timestamptz",
    "CREATE INDEX ix_purchases_unsettled ON purchases (created_at) "
    "WHERE state IN ('session_open', 'awaiting_payment', 'processing')",
    "CREATE INDEX ix_purchases_state_reason ON purchases (state_reason) WHERE state_reason IS NOT NULL",
    """
    CREATE TABLE unmatched_payments (
        id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT pk_unmatched_payments PRIMARY KEY,
        purchase_id uuid NOT NULL,
        refs text[] NOT NULL,
        payment_refs jsonb NOT NULL,
        amount bigint NOT NULL CONSTRAINT ck_unmatched_payments_amount CHECK (amount > 0),
        refunded bigint NOT NULL DEFAULT 0,
        currency text NOT NULL,
        email text,
        payer text NOT NULL DEFAULT 'student'
            CONSTRAINT ck_unmatched_payments_payer CHECK (payer IN ('student', 'sponsor')),
        funding_source text,
        installments integer,
        code text NOT NULL CONSTRAINT ck_unmatched_payments_code
            CHECK (code IN ('no_student', 'no_item', 'unknown_item', 'conflicting_students')),
        status text NOT NULL DEFAULT 'pending' CONSTRAINT ck_unmatched_payments_status
            CHECK (status IN ('pending', 'open', 'matched', 'assigned', 'refunding', 'refunded')),
        student_id uuid,
        failure text,
        resolved_by text,
        resolved_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX ix_unmatched_payments_refs ON unmatched_payments USING gin (refs)",
    "CREATE INDEX ix_unmatched_payments_purchase_id ON unmatched_payments (purchase_id)",
    "CREATE INDEX ix_unmatched_payments_status ON unmatched_payments (status)",
    """
    CREATE TABLE stripe_checks (
        object_id text NOT NULL CONSTRAINT pk_stripe_checks PRIMARY KEY,
        checks integer NOT NULL,
        next_at timestamptz NOT NULL
    )
    """,
)
PAYMENTS: tuple[str, ...] = (
    "ALTER TABLE payments ADD COLUMN method_details jsonb, ADD COLUMN late boolean NOT NULL DEFAULT false",
    "CREATE INDEX ix_payments_late ON payments (created_at) WHERE late",
    "ALTER TABLE refunds DROP CONSTRAINT ck_refunds_origin, ADD CONSTRAINT ck_refunds_origin "
    "CHECK (origin IN ('admin', 'student', 'request', 'cancellation', 'late', 'stripe'))",
    """
    CREATE TABLE purchase_ends (
        purchase_id uuid NOT NULL CONSTRAINT pk_purchase_ends PRIMARY KEY,
        student_id uuid NOT NULL,
        ended_by text NOT NULL CONSTRAINT ck_purchase_ends_ended_by CHECK (ended_by IN ('student', 'school')),
        reason text NOT NULL,
        counted text[] NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX ix_purchase_ends_student_id ON purchase_ends (student_id)",
    "ALTER TABLE memberships ADD COLUMN resumes_at timestamptz",
    """
    CREATE TABLE enrollment_progress (
        student_id uuid NOT NULL,
        program_slug text NOT NULL,
        percent integer NOT NULL CONSTRAINT ck_enrollment_progress_percent CHECK (percent BETWEEN 0 AND 100),
        CONSTRAINT pk_enrollment_progress PRIMARY KEY (student_id, program_slug)
    )
    """,
)
INSTALLMENTS: tuple[str, ...] = (
    # plans are collected by checkout: none has a schedule at Stripe
    "ALTER TABLE purchases DROP COLUMN stripe_schedule_id",
    "ALTER TABLE purchases ADD COLUMN collection_stopped text, "
    "ADD COLUMN collection_stops integer NOT NULL DEFAULT 0, ADD COLUMN received bigint NOT NULL DEFAULT 0, "
    "ADD COLUMN charges integer NOT NULL DEFAULT 0",
    # purchase_ends has it, for every end
    "ALTER TABLE cancellations DROP COLUMN counted",
    "ALTER TABLE installments DROP CONSTRAINT ck_installments_kind, ADD CONSTRAINT ck_installments_kind "
    "CHECK (kind IN ('full', 'deposit', 'installment', 'remainder'))",
    "ALTER TABLE installments DROP CONSTRAINT ck_installments_closed_because, "
    "ADD CONSTRAINT ck_installments_closed_because "
    "CHECK (closed_because IN ('ended', 'refunded', 'disputed', 'expired', 'covered'))",
    "ALTER TABLE installments ADD COLUMN losses integer NOT NULL DEFAULT 0, "
    "ADD COLUMN announced_round integer NOT NULL DEFAULT 0, ADD COLUMN charged_at timestamptz, "
    "ADD COLUMN charge_key text, ADD COLUMN charged_method text, ADD COLUMN pay_page text",
)
SPONSORS: tuple[str, ...] = (
    "ALTER TABLE purchases ADD COLUMN authorization_number text, ADD COLUMN period_start date, "
    "ADD COLUMN period_end date, "
    "ADD CONSTRAINT ck_purchases_period CHECK (period_start <= period_end)",
    "ALTER TABLE funding_payments ADD COLUMN stripe_invoice_id text "
    "CONSTRAINT uq_funding_payments_stripe_invoice_id UNIQUE",
)

STAFF = ("admin", "case_manager")
OWN_ROWS: tuple[str, ...] = ("purchase_ends", "enrollment_progress")
ADMINS_ROWS: tuple[str, ...] = ("unmatched_payments",)
GRANTS: dict[str, tuple[str, ...]] = {
    "SELECT": ("enrollment_progress",),
    "SELECT, INSERT": ("purchase_ends",),
    "SELECT, UPDATE": ("unmatched_payments",),
}


def upgrade() -> None:
    for statement in (*CATALOG, *PURCHASES, *PAYMENTS, *INSTALLMENTS, *SPONSORS):
        op.execute(statement)
    for table in OWN_ROWS:
        for statement in own_rows(table, owner=ddl.owner(), staff=STAFF):
            op.execute(statement)
    for table in ADMINS_ROWS:
        for statement in own_rows(table, owner=ddl.owner(), column=None):
            op.execute(statement)
    for rights, granted in GRANTS.items():
        op.execute(f'GRANT {rights} ON {", ".join(granted)} TO "{ddl.api_login()}"')
