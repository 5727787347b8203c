"""Installments that are invoiced, books for every payment, sponsors' invoices, and the ends of purchases."""

from alembic import op

revision = "0002"
down_revision = "0001"

CATALOG: tuple[str, ...] = ()
PURCHASES: tuple[str, ...] = ()
PAYMENTS: tuple[str, ...] = ()
INSTALLMENTS: tuple[str, ...] = ()
SPONSORS: tuple[str, ...] = ()


def upgrade() -> None:
    for statement in (*CATALOG, *PURCHASES, *PAYMENTS, *INSTALLMENTS, *SPONSORS):
        op.execute(statement)
