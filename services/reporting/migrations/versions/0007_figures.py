"""What the figures are counted from: a row for each payment, the catalog's items, and an index of stored events."""

from alembic import op

from kit.db import ddl
from kit.db.row_security import policy, role_is

revision = "0007"
down_revision = "0006"

STATEMENTS = (
    """
    CREATE TABLE payments (
        id uuid NOT NULL CONSTRAINT pk_payments PRIMARY KEY,
        purchase_id uuid,
        program_slug text,
        kind text,
        payer text,
        funding_source text,
        method text,
        currency text,
        status text NOT NULL,
        received bigint NOT NULL,
        refunded bigint NOT NULL,
        lost bigint NOT NULL,
        disputed boolean NOT NULL,
        failures integer NOT NULL,
        failure_code text,
        occurred_at timestamptz,
        updated_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX ix_payments_purchase_id ON payments (purchase_id)",
    "CREATE INDEX ix_payments_occurred_at ON payments (occurred_at)",
    """
    CREATE TABLE catalog_items (
        slug text NOT NULL CONSTRAINT pk_catalog_items PRIMARY KEY,
        name text NOT NULL,
        category text,
        owner_id uuid,
        revision integer NOT NULL
    )
    """,
    "CREATE INDEX ix_events_figures ON events (type, time)"
    " WHERE type = 'purchase.created.v1' OR type LIKE 'enrollment.%' OR type LIKE '%.failed.v1'",
)


def upgrade() -> None:
    logins = ddl.logins()
    statements = list(STATEMENTS)
    for table in ("payments", "catalog_items"):
        statements += [
            *logins.close(table),
            policy("admins", table, logins.staff, "SELECT", role_is("admin")),
            f'GRANT SELECT ON {table} TO "{logins.staff}"',
        ]
    for statement in statements:
        op.execute(statement)
