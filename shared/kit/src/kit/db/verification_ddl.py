"""The tables of `kit.messaging.verification_runs`. Frozen like `ddl.V1`: a service's revision calls `create`."""

from __future__ import annotations

from alembic import op

from kit.db.row_security import Logins, policy, role_is

TABLES = (
    """
    CREATE TABLE verifications (
        id uuid NOT NULL CONSTRAINT pk_verifications PRIMARY KEY,
        requested_at timestamptz NOT NULL DEFAULT now(),
        actor_id text NOT NULL,
        actor_role text NOT NULL,
        repair boolean NOT NULL,
        again boolean NOT NULL,
        claimed_at timestamptz,
        finished_at timestamptz,
        report jsonb
    )
    """,
    "CREATE INDEX ix_verifications_requested_at ON verifications (requested_at)",
    """
    CREATE TABLE repairs (
        cause text NOT NULL CONSTRAINT pk_repairs PRIMARY KEY,
        verification_id uuid NOT NULL,
        table_name text NOT NULL,
        row_id text NOT NULL,
        column_name text,
        repaired_at timestamptz NOT NULL,
        times integer NOT NULL DEFAULT 1
    )
    """,
)


REQUESTS = (
    "ALTER TABLE repairs ALTER COLUMN repaired_at DROP NOT NULL",
    "ALTER TABLE repairs ADD COLUMN requested_at timestamptz",
)
"""Of a lost event, a repair begins with a request to its publisher."""


def statements(logins: Logins) -> list[str]:
    """Staff ask for a verification and read what it has found; the worker does it."""
    asked = f"{role_is('admin')} AND claimed_at IS NULL AND finished_at IS NULL AND report IS NULL"
    return [
        *TABLES,
        *logins.close("verifications"),
        *logins.close("repairs"),
        policy("admins", "verifications", logins.staff, "SELECT", role_is("admin")),
        policy("requests", "verifications", logins.staff, "INSERT", asked),
        f'GRANT SELECT, INSERT ON verifications TO "{logins.staff}"',
    ]


def create(logins: Logins) -> None:
    for statement in statements(logins):
        op.execute(statement)
