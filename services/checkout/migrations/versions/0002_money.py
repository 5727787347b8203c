"""Installments that are invoiced, books for every payment, sponsors' invoices, and the ends of purchases."""

from alembic import op

from kit.db import ddl
from kit.db.database import own_rows

revision = "0002"
down_revision = "0001"

CATALOG: tuple[str, ...] = ()
# A payment that names nobody or nothing that checkout has. `pending`: its match may still arrive.
PURCHASES: tuple[str, ...] = (
    "ALTER TABLE purchases DROP CONSTRAINT ck_purchases_payment_flow",
    "ALTER TABLE purchases ADD CONSTRAINT ck_purchases_payment_flow "
    "CHECK (payment_flow IN ('page', 'intent', 'installments', 'membership', 'external'))",
    "ALTER TABLE purchases ADD COLUMN state_reason text, ADD COLUMN shortfall bigint, "
    "ADD COLUMN accepted bigint NOT NULL DEFAULT 0, ADD COLUMN recorded_by text, "
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
            CHECK (code IN ('no_student', 'no_item', 'unknown_item', 'conflicting_students', 'after_end')),
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
PAYMENTS: tuple[str, ...] = ()
INSTALLMENTS: tuple[str, ...] = ()
SPONSORS: tuple[str, ...] = (
    "ALTER TABLE purchases ADD COLUMN authorization_number text, ADD COLUMN period_start date, "
    "ADD COLUMN period_end date, "
    "ADD CONSTRAINT ck_purchases_period CHECK (period_start <= period_end)",
    "ALTER TABLE funding_payments ADD COLUMN stripe_invoice_id text "
    "CONSTRAINT uq_funding_payments_stripe_invoice_id UNIQUE",
)


ADMINS_ROWS = ("unmatched_payments",)
GRANTS = {
    "SELECT, UPDATE": ("unmatched_payments",),
}


def upgrade() -> None:
    for statement in (*CATALOG, *PURCHASES, *PAYMENTS, *INSTALLMENTS, *SPONSORS):
        op.execute(statement)
    for table in ADMINS_ROWS:
        for statement in own_rows(table, owner=ddl.owner(), staff=("admin",)):
            op.execute(statement)
    for rights, tables in GRANTS.items():
        op.execute(f'GRANT {rights} ON {", ".join(tables)} TO "{ddl.api_login()}"')
