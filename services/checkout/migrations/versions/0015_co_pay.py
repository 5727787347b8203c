"""What the student pays of a sponsor's purchase: an installment of its own kind."""

from alembic import op

from kit.db import ddl
from kit.db.row_security import policy

revision = "0015"
down_revision = "0014"

LINK = "link_hash = current_setting('app.sponsor_link', true)"
SPONSORED = f"funding_source = (SELECT sponsor_links.code FROM sponsor_links WHERE {LINK})"
KINDS = "kind IN ('full', 'deposit', 'installment', 'co_pay', 'remainder')"


def upgrade() -> None:
    logins = ddl.logins()
    for statement in (
        "ALTER TABLE purchases ADD COLUMN co_pay bigint CONSTRAINT ck_purchases_co_pay CHECK (co_pay > 0)",
        "ALTER TABLE installments DROP CONSTRAINT ck_installments_kind",
        # (not validated at once, which would lock out everybody while the table is read)
        f"ALTER TABLE installments ADD CONSTRAINT ck_installments_kind CHECK ({KINDS}) NOT VALID",
        "ALTER TABLE installments VALIDATE CONSTRAINT ck_installments_kind",
        policy("sponsor_link", "funding_payments", logins.api, "SELECT", SPONSORED),
    ):
        op.execute(statement)
