"""An erasure's request is known by its id, and stores the identifiers in its own transaction."""

from alembic import op

from kit.db import ddl
from kit.db.row_security import policy, role_is

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    logins = ddl.logins()
    for statement in (
        "ALTER TABLE erasures ADD COLUMN request_id text",
        "ALTER TABLE erasure_receipts ADD COLUMN request_id text",
        policy("admins_erase", "erased_identifiers", logins.staff, "INSERT", role_is("admin")),
        f'GRANT INSERT ON erased_identifiers TO "{logins.staff}"',
    ):
        op.execute(statement)
