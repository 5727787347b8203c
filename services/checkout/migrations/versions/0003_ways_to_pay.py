"""Purchases by page, by intent, by our own schedule and as memberships; a student's one customer at Stripe."""

from alembic import op

from kit.db import ddl
from kit.db.database import own_rows

revision = "0003"
down_revision = "0002"

PURCHASES = (
    """
    ALTER TABLE purchases
        ADD item_id uuid,
        ADD item_kind text NOT NULL DEFAULT 'program',
        ADD owner_id uuid,
        ADD includes jsonb NOT NULL DEFAULT '[]',
        ADD covers text[],
        ADD how text NOT NULL DEFAULT 'page' CONSTRAINT ck_purchases_how
            CHECK (how IN ('page', 'intent', 'schedule', 'membership')),
        ADD list_price bigint,
        ADD promotion_code text,
        ADD tier text,
        ADD interval text CONSTRAINT ck_purchases_interval CHECK (interval IN ('month', 'year')),
        ADD payment_plan jsonb,
        ADD stripe_payment_intent_id text CONSTRAINT uq_purchases_stripe_payment_intent_id UNIQUE,
        ADD client_secret text,
        ADD terms_version text,
        ADD terms_accepted_at timestamptz,
        ADD canceled_at timestamptz,
        ADD cancel_reason text,
        ALTER session_params DROP NOT NULL,
        DROP CONSTRAINT ck_purchases_amount,
        ADD CONSTRAINT ck_purchases_amount CHECK (amount >= 0),
        DROP CONSTRAINT ck_purchases_state,
        ADD CONSTRAINT ck_purchases_state CHECK (state IN ('created', 'session_open', 'awaiting_payment', 'processing',
            'paid', 'withdrawn', 'failed', 'expired', 'canceled'))
    """,
    "UPDATE purchases SET covers = ARRAY[program_slug], list_price = amount",
    "ALTER TABLE purchases ALTER covers SET NOT NULL",
    "DROP INDEX uq_purchases_open",
    "CREATE UNIQUE INDEX uq_purchases_open ON purchases (student_id, program_slug) "
    "WHERE state IN ('created', 'session_open', 'awaiting_payment')",
    "CREATE INDEX ix_purchases_covers ON purchases USING gin (covers)",
    """
    CREATE TABLE customers (
        student_id uuid NOT NULL CONSTRAINT pk_customers PRIMARY KEY,
        stripe_customer_id text NOT NULL CONSTRAINT uq_customers_stripe_customer_id UNIQUE,
        email text,
        name text,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now()
    )
    """,
)


def upgrade() -> None:
    for statement in (*PURCHASES, *own_rows("customers", owner=ddl.owner(), staff=("admin", "case_manager"))):
        op.execute(statement)
    op.execute(f'GRANT SELECT, INSERT, UPDATE ON customers TO "{ddl.api_login()}"')
