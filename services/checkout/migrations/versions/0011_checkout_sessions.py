"""The page to which Stripe returns a payer shows the purchase of its checkout session: its id cannot be guessed."""

from alembic import op

from kit.db.ddl import api_login
from kit.db.row_security import policy

revision = "0011"
down_revision = "0010"

SESSION = "NULLIF(current_setting('app.checkout_session', true), '')"


def upgrade() -> None:
    op.execute(
        policy("checkout_session", "purchases", api_login(), "SELECT", f"stripe_checkout_session_id = {SESSION}")
    )
