"""Admins find events by the objects of Stripe that they name, without reading the events of all time.

PostgreSQL tests row-level security before any condition that is not leakproof, and those on arrays are not: the index
ix_events_refs served the worker only. The function runs with the rights of its owner, and finds nothing but for admins.
"""

from alembic import op

from kit.db import ddl
from kit.db.row_security import role_is

revision = "0009"
down_revision = "0008"

EVENTS_BY_REF = f"""
    CREATE FUNCTION events_by_ref(wanted text[]) RETURNS SETOF text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
        SELECT event_id FROM events WHERE refs && wanted AND {role_is("admin")}
    $$
"""


def upgrade() -> None:
    for statement in (
        EVENTS_BY_REF,
        "REVOKE ALL ON FUNCTION events_by_ref(text[]) FROM PUBLIC",
        f'GRANT EXECUTE ON FUNCTION events_by_ref(text[]) TO "{ddl.logins().staff}"',
    ):
        op.execute(statement)
