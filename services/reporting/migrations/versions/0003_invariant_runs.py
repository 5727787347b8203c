"""The invariant is verified in the background: runs, and the breaks that the last one has found.

The index of links is written at once (fastupdate off): each look-up would read what is pending.
"""

from alembic import op

from kit.db import ddl
from kit.db.row_security import policy, role_is

revision = "0003"
down_revision = "0002"

STATEMENTS = (
    "DROP INDEX ix_events_links",
    "CREATE INDEX ix_events_links ON events USING gin (refs) WITH (fastupdate = off)"
    " WHERE student_id IS NULL AND purchase_id IS NULL",
    "CREATE INDEX ix_events_reconciliation ON events (received_at) WHERE type LIKE 'reconciliation.%'",
    """
    CREATE TABLE invariant_runs (
        id uuid NOT NULL CONSTRAINT pk_invariant_runs PRIMARY KEY,
        requested_at timestamptz NOT NULL DEFAULT now(),
        claimed_at timestamptz,
        finished_at timestamptz,
        students integer,
        breaks integer,
        error text
    )
    """,
    "CREATE INDEX ix_invariant_runs_requested_at ON invariant_runs (requested_at)",
    """
    CREATE TABLE invariant_breaks (
        id uuid NOT NULL CONSTRAINT pk_invariant_breaks PRIMARY KEY,
        created_at timestamptz NOT NULL DEFAULT now(),
        run_id uuid NOT NULL,
        part text NOT NULL,
        cause text NOT NULL,
        student_id uuid,
        purchase_id uuid,
        program_slug text,
        since timestamptz NOT NULL,
        ended_at timestamptz
    )
    """,
    "CREATE INDEX ix_invariant_breaks_created_at ON invariant_breaks (created_at, id) WHERE ended_at IS NULL",
)


def upgrade() -> None:
    logins = ddl.logins()
    requested = f"{role_is('admin')} AND claimed_at IS NULL AND finished_at IS NULL"
    statements = [
        *STATEMENTS,
        *logins.close("invariant_runs"),
        *logins.close("invariant_breaks"),
        policy("admins", "invariant_runs", logins.staff, "SELECT", role_is("admin")),
        policy("requests", "invariant_runs", logins.staff, "INSERT", requested),
        policy("admins", "invariant_breaks", logins.staff, "SELECT", role_is("admin")),
        f'GRANT SELECT, INSERT ON invariant_runs TO "{logins.staff}"',
        f'GRANT SELECT ON invariant_breaks TO "{logins.staff}"',
    ]
    for statement in statements:
        op.execute(statement)
