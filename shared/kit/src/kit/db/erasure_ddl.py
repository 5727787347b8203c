"""The kit's table of erased identifiers as DDL, frozen per version, and what an export reads of the kit's tables."""

from __future__ import annotations

from alembic import op

from kit.db.row_security import CALLER, Logins, policy, role_is

V1 = (
    # What an event names that is about an erased person. Rows are never deleted: the event may come years later.
    """
    CREATE TABLE erased_identifiers (
        identifier text NOT NULL CONSTRAINT pk_erased_identifiers PRIMARY KEY,
        erased_at timestamptz NOT NULL DEFAULT now()
    )
    """,
)


def statements(logins: Logins) -> list[str]:
    """Requests may look whether their caller is erased; staff, whether anybody is. Admins may read the facts, for an
    export."""
    return [
        *V1,
        *logins.close("erased_identifiers"),
        policy("callers_own", "erased_identifiers", logins.api, "SELECT", f"identifier = ({CALLER})::text"),
        policy("staff_rows", "erased_identifiers", logins.staff, "SELECT", "true"),
        f'GRANT SELECT ON erased_identifiers TO "{logins.api}", "{logins.staff}"',
        *logins.close("facts"),
        *logins.close("fact_keys"),
        *readable_by_admins(logins, "facts", "fact_keys"),
    ]


def create_v1(logins: Logins) -> None:
    for statement in statements(logins):
        op.execute(statement)


def readable_by_admins(logins: Logins, *tables: str) -> list[str]:
    """For an export: tables of which requests of admins may read all rows."""
    found = []
    for table in tables:
        found.append(policy("exports", table, logins.staff, "SELECT", role_is("admin")))
        found.append(f'GRANT SELECT ON {table} TO "{logins.staff}"')
    return found
