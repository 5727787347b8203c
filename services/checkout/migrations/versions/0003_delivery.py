"""What is due stands in narrow tables, and messages and inbox are partitioned by month."""

from alembic import op

from kit.db import ddl, delivery_ddl

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    delivery_ddl.create_v2(api_login=ddl.api_login())
    # what is looked at in Stripe because it has been open for long
    op.execute(
        "CREATE INDEX ix_installments_open ON installments (updated_at) "
        "WHERE status IN ('open', 'processing', 'overdue', 'paused') "
        "AND coalesce(stripe_invoice_id, stripe_payment_intent_id) IS NOT NULL"
    )
    op.execute("CREATE INDEX ix_stripe_checks_next_at ON stripe_checks (next_at)")
