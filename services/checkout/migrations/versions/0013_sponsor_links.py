"""A sponsor reads its invoices by a link that an admin makes and revokes. Only the link's hash is stored."""

from alembic import op

from kit.db import ddl
from kit.db.row_security import policy, role_is

revision = "0013"
down_revision = "0012"

LINK = "link_hash = current_setting('app.sponsor_link', true)"
# (a subquery of one row: its value selects by the index, and a student's request reads no sponsor's purchases)
SPONSORED = f"payer = 'sponsor' AND funding_source = (SELECT sponsor_links.code FROM sponsor_links WHERE {LINK})"


def upgrade() -> None:
    logins = ddl.logins()
    for statement in (
        """
        CREATE TABLE sponsor_links (
            code text NOT NULL CONSTRAINT pk_sponsor_links PRIMARY KEY,
            link_hash text NOT NULL CONSTRAINT uq_sponsor_links_link_hash UNIQUE,
            created_at timestamptz NOT NULL DEFAULT now()
        )
        """,
        *logins.close("sponsor_links"),
        policy("sponsor_link", "sponsor_links", logins.api, "SELECT", LINK),
        policy("admins_rows", "sponsor_links", logins.staff, "ALL", role_is("admin")),
        f'GRANT SELECT ON sponsor_links TO "{logins.api}"',
        f'GRANT INSERT, UPDATE, DELETE ON sponsor_links TO "{logins.staff}"',
        policy("sponsor_link", "purchases", logins.api, "SELECT", SPONSORED),
        "CREATE INDEX ix_purchases_funding_source ON purchases (funding_source, created_at) WHERE payer = 'sponsor'",
    ):
        op.execute(statement)
