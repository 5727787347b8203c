"""/api/admin/database: how the service's database is, for admins."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from kit.db.statistics import StatementStatistics, read_statistics
from kit.http.auth import Admin
from kit.http.dependencies import CurrentDatabase
from kit.http.figures import Value

router = APIRouter(tags=["database"])


class _View(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class TableHealth(_View):
    """A table with dead rows: they take space until vacuum has removed them."""

    name: str
    live_rows: int = Field(description="estimated")
    dead_rows: int = Field(description="estimated")
    vacuumed_at: datetime | None = Field(description="null: never, or not since the statistics were reset")


class SlowQuery(_View):
    """A query that is slow on average, without its values."""

    login: str = Field(description="the database login that runs it")
    query: str | None = Field(description="at most 300 characters; null: this login may not see it")
    calls: int
    total_milliseconds: int
    average_microseconds: int


class DatabaseHealth(_View):
    """What the statistics of PostgreSQL say about the database of one service."""

    version: str
    started_at: datetime = Field(description="when the server was started")
    size_bytes: int
    connections: int = Field(description="to this database")
    server_connections: int = Field(description="to all databases of the server")
    max_connections: int = Field(description="that the server accepts")
    cache_hit_ratio: int | None = Field(
        description="blocks found in shared buffers / blocks read, in basis points; null: none was read"
    )
    deadlocks: int
    counted_since: datetime | None = Field(
        description="of the hit ratio and the deadlocks; null: since the server's statistics exist"
    )
    oldest_transaction_seconds: int | None = Field(
        description="of the sessions that are not hidden; null: none is in a transaction"
    )
    oldest_snapshot: int | None = Field(
        description="of all sessions: how many transactions ago the oldest snapshot was taken that is in use; vacuum "
        "removes no row that died since. null: none is in use"
    )
    hidden_sessions: int = Field(description="of other logins, whose transactions this one may not see")
    tables: list[TableHealth] = Field(description="the ten with the most dead rows")
    slow_queries_available: StatementStatistics = Field(
        description="whether the extension pg_stat_statements can be read; `not_loaded`: it is not in "
        "`shared_preload_libraries`"
    )
    slow_queries: list[SlowQuery] = Field(description="the ten slowest on average")


@router.get("/api/admin/database")
async def read_database_health(_: Admin, database: CurrentDatabase) -> DatabaseHealth:
    """Size, connections, cache hits, deadlocks, dead rows, old transactions and slow queries of the service's
    database."""
    async with database.transaction_of(student_id=None, role="admin") as db:
        found = await read_statistics(db)
    return DatabaseHealth.model_validate(
        {
            **vars(found),
            "cache_hit_ratio": Value.ratio(found.blocks_hit, found.blocks_hit + found.blocks_read).value,
            "slow_queries_available": found.statement_statistics,
            "slow_queries": found.statements,
        }
    )
