"""Erasures and which services have made them, erased identifiers, and what the export reads."""

from alembic import op

from kit.db import ddl, erasure_ddl
from kit.db.row_security import policy, role_is

revision = "0007"
down_revision = "0006"

TABLES = (
    """
    CREATE TABLE erasures (
        student_id uuid NOT NULL CONSTRAINT pk_erasures PRIMARY KEY,
        requested_by text NOT NULL,
        requested_at timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE erasure_receipts (
        student_id uuid NOT NULL,
        service text NOT NULL,
        erased_at timestamptz NOT NULL,
        rows jsonb NOT NULL,
        CONSTRAINT pk_erasure_receipts PRIMARY KEY (student_id, service)
    )
    """,
)


def upgrade() -> None:
    logins = ddl.logins()
    erasure_ddl.create_v1(logins)
    for statement in (
        *TABLES,
        *logins.close("erasures"),
        policy("admins", "erasures", logins.staff, "ALL", role_is("admin")),
        f'GRANT SELECT, INSERT, UPDATE ON erasures TO "{logins.staff}"',
        *logins.close("erasure_receipts"),
        *erasure_ddl.readable_by_admins(logins, "erasure_receipts"),
        *logins.staff_publish("erasure_of_staff", ("student.erasure_requested.v1",)),
    ):
        op.execute(statement)
