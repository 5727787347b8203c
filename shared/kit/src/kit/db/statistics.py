"""What PostgreSQL's statistics say about a service's database, as far as the login may see them.

A login that is no superuser sees the counters of all databases and tables, but transactions and queries only of its
own: the others are counted (`hidden_sessions`, statements without a text). `pg_read_all_stats` would let it see them,
with the values in running queries, which are personal data: nobody needs it for this.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from kit.runtime.failures import sqlstate

StatementStatistics = Literal["available", "not_installed", "not_loaded", "not_permitted"]
"""Of the extension pg_stat_statements. `not_loaded`: it is not in `shared_preload_libraries`."""

LONGEST_QUERY = 300
_MOST = 10
_REASONS: dict[str, StatementStatistics] = {"55000": "not_loaded", "42501": "not_permitted"}
_NUMBER = re.compile(r"(?<![\w$.])[0-9]+(?:\.[0-9]+)?(?!\w)")

_SERVER = text(
    """
    SELECT current_setting('server_version') AS version, pg_postmaster_start_time() AS started_at,
        pg_database_size(own.datid) AS size_bytes, own.numbackends AS connections,
        (SELECT sum(numbackends)::int FROM pg_stat_database) AS server_connections,
        current_setting('max_connections')::int AS max_connections, own.blks_hit AS blocks_hit,
        own.blks_read AS blocks_read, own.deadlocks, own.stats_reset AS counted_since
    FROM pg_stat_database AS own WHERE own.datname = current_database()
    """
)
# State and start of what the login may not see are null.
_SESSIONS = text(
    """
    SELECT floor(extract(epoch FROM max(clock_timestamp() - xact_start)))::bigint AS oldest_transaction_seconds,
        max(age(backend_xmin))::bigint AS oldest_snapshot, count(*) FILTER (WHERE state IS NULL) AS hidden_sessions
    FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
    """
)
_TABLES = text(
    """
    SELECT relname AS name, n_live_tup AS live_rows, n_dead_tup AS dead_rows,
        greatest(last_vacuum, last_autovacuum) AS vacuumed_at
    FROM pg_stat_user_tables WHERE n_dead_tup > 0 ORDER BY n_dead_tup DESC, relname LIMIT :most
    """
)
_EXTENSION = text(
    "SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace AS place ON place.oid = extnamespace"
    " WHERE extname = 'pg_stat_statements'"
)
# Other statements (ALTER ROLE, SET) are not normalized by every version of PostgreSQL.
_STATEMENTS = """
    SELECT pg_get_userbyid(userid)::text AS login, query, calls, total_exec_time::bigint AS total_milliseconds,
        (mean_exec_time * 1000)::bigint AS average_microseconds
    FROM {place}.pg_stat_statements
    WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (query ~* '^\\s*(SELECT|INSERT|UPDATE|DELETE|MERGE|WITH)\\M' OR query = '<insufficient privilege>')
    ORDER BY mean_exec_time DESC, calls DESC LIMIT :most
"""


@dataclass(frozen=True, kw_only=True)
class TableStatistics:
    name: str
    live_rows: int
    dead_rows: int
    vacuumed_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Statement:
    """`query`: without values; None if the login may not see it, or if it is not normalized."""

    login: str
    query: str | None
    calls: int
    total_milliseconds: int
    average_microseconds: int


@dataclass(frozen=True, kw_only=True)
class DatabaseStatistics:
    """Counters are since `counted_since`; None: since the server's statistics were created.

    `oldest_transaction_seconds`: of the sessions that the login may see. `oldest_snapshot`: of all sessions, how many
    transactions ago the oldest snapshot was taken that is still in use: vacuum removes no row that died since.
    """

    version: str
    started_at: datetime
    size_bytes: int
    connections: int
    server_connections: int
    max_connections: int
    blocks_hit: int
    blocks_read: int
    deadlocks: int
    counted_since: datetime | None
    oldest_transaction_seconds: int | None
    oldest_snapshot: int | None
    hidden_sessions: int
    tables: Sequence[TableStatistics]
    statement_statistics: StatementStatistics
    statements: Sequence[Statement]


async def read_statistics(db: AsyncConnection) -> DatabaseStatistics:
    server = (await db.execute(_SERVER)).one()
    sessions = (await db.execute(_SESSIONS)).one()
    tables = [TableStatistics(**row._mapping) for row in await db.execute(_TABLES, {"most": _MOST})]
    available, statements = await _read_statements(db)
    return DatabaseStatistics(
        **server._mapping,
        **sessions._mapping,
        tables=tables,
        statement_statistics=available,
        statements=statements,
    )


async def _read_statements(db: AsyncConnection) -> tuple[StatementStatistics, list[Statement]]:
    place: str | None = await db.scalar(_EXTENSION)
    if place is None:
        return "not_installed", []
    try:
        async with db.begin_nested():
            rows = (await db.execute(text(_STATEMENTS.format(place=place)), {"most": _MOST})).all()
    except DBAPIError as error:
        reason = _REASONS.get(sqlstate(error) or "")
        if reason is None:
            raise
        return reason, []
    return "available", [
        Statement(
            login=row.login,
            query=without_values(row.query),
            calls=row.calls,
            total_milliseconds=row.total_milliseconds,
            average_microseconds=row.average_microseconds,
        )
        for row in rows
    ]


def without_values(query: str) -> str | None:
    """The text on one line, cut, with `?` for numbers. None if it has a string: a normalized query has none.

    PostgreSQL stores a text that is not normalized if the entry was evicted while the query ran."""
    if query == "<insufficient privilege>" or "'" in query or "$$" in query or re.search(r"\$[^\W\d]\w*\$", query):
        return None
    plain = _NUMBER.sub("?", " ".join(query.split()))
    return plain if len(plain) <= LONGEST_QUERY else f"{plain[: LONGEST_QUERY - 1]}…"
