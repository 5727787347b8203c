"""An erasure finds the facts that name a customer at Stripe by an index: it holds up every consumer meanwhile."""

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.execute(
        "CREATE INDEX ix_facts_customer ON facts ((body #>> '{refs,customer}'))"
        " WHERE body #>> '{refs,customer}' IS NOT NULL"
    )
