"""A sponsor's cap is stored: it bounds later requests under its authorization number that do not state it."""

from alembic import op

from kit.db import ddl
from kit.db.caseload_ddl import limit_to_caseload
from kit.db.row_security import CALLER, policy, role_is

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    logins = ddl.logins()
    for statement in (
        """
        CREATE TABLE authorizations (
            student_id uuid NOT NULL,
            funding_source text NOT NULL,
            authorization_number text NOT NULL,
            cap bigint NOT NULL CONSTRAINT ck_authorizations_cap CHECK (cap > 0),
            currency text NOT NULL,
            updated_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT pk_authorizations PRIMARY KEY (student_id, funding_source, authorization_number)
        )
        """,
        *logins.close("authorizations"),
        policy("callers_rows", "authorizations", logins.api, "SELECT", f"student_id = {CALLER}"),
        policy("own_rows", "authorizations", logins.staff, "ALL", role_is("admin")),
        limit_to_caseload(logins, "authorizations"),
        f'GRANT SELECT ON authorizations TO "{logins.api}"',
        f'GRANT INSERT, UPDATE ON authorizations TO "{logins.staff}"',
    ):
        op.execute(statement)
