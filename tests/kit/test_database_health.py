"""The state of a database: what each login sees of it, with and without pg_stat_statements, and what nobody sees."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from tests.databases import api_database, opened
from tests.processes import JWT
from tests.tokens import bearer
from tests.waiting import until

from kit.db.statistics import LONGEST_QUERY, DatabaseStatistics, read_statistics, without_values
from kit.runtime.service import ApiSettings, create_api
from testkit import servers
from testkit.postgres_server import Database as CreatedDatabase
from testkit.postgres_server import PostgresServer

PATH = "/api/admin/database"
NAME = "Ann Personal"
EXTENSION = "CREATE EXTENSION pg_stat_statements"


@pytest.fixture
def created(postgres_server: PostgresServer) -> CreatedDatabase:
    return postgres_server.create_database(f"health_{uuid4().hex[:8]}")


@pytest.fixture(scope="module")
def recording() -> Iterator[PostgresServer]:
    """A server that records statements."""
    with servers.postgres() as server:
        yield server


async def as_superuser(server: PostgresServer, database: str, *statements: str) -> None:
    url = urlunsplit(urlsplit(server.admin_url)._replace(path=f"/{database}"))
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


@asynccontextmanager
async def as_admin(created: CreatedDatabase) -> AsyncIterator[AsyncConnection]:
    """As the API's route has it."""
    database = api_database(created)
    async with database.transaction_of(student_id=None, role="admin") as db:
        yield db
    await database.close()


async def read(created: CreatedDatabase) -> DatabaseStatistics:
    async with as_admin(created) as db:
        found = await read_statistics(db)
        assert await db.scalar(text("SELECT 1")) == 1, "the transaction goes on"
    return found


async def test_what_every_login_sees(created: CreatedDatabase) -> None:
    found = await read(created)
    assert found.version and found.started_at.tzinfo
    assert found.size_bytes > 1_000_000
    assert 1 <= found.connections <= found.server_connections <= found.max_connections
    assert found.blocks_hit > 0 and found.deadlocks == 0
    assert (found.statement_statistics, found.statements) == ("not_installed", [])


async def test_transactions_of_the_api_are_visible_and_those_of_the_worker_are_counted(
    created: CreatedDatabase,
) -> None:
    worker, api = await asyncpg.connect(created.url), await asyncpg.connect(created.api_url)
    await worker.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    await worker.execute(f"SELECT '{NAME}'")
    found = await read(created)
    assert (found.oldest_transaction_seconds, found.hidden_sessions) == (None, 1)
    assert found.oldest_snapshot is not None, "it holds vacuum back, also of another login"
    await api.execute("BEGIN")
    found = await read(created)
    assert (found.oldest_transaction_seconds, found.hidden_sessions) == (0, 1)
    await worker.close()
    await api.close()


async def test_dead_rows(created: CreatedDatabase) -> None:
    owner = await asyncpg.connect(created.owner_url)
    await owner.execute("CREATE TABLE crowded (id integer) WITH (autovacuum_enabled = off)")
    await owner.execute("INSERT INTO crowded SELECT generate_series(1, 100)")
    await owner.execute("DELETE FROM crowded WHERE id <= 60")
    await owner.close()

    async def are_counted() -> bool:
        tables = (await read(created)).tables
        return [(each.name, each.live_rows, each.dead_rows) for each in tables] == [("crowded", 40, 60)]

    await until(are_counted)


async def test_an_extension_that_is_not_loaded(postgres_server: PostgresServer, created: CreatedDatabase) -> None:
    await as_superuser(postgres_server, created.name, EXTENSION)
    found = await read(created)
    assert (found.statement_statistics, found.statements) == ("not_loaded", [])


@pytest.fixture
async def recorded(recording: PostgresServer) -> CreatedDatabase:
    created = recording.create_database(f"health_{uuid4().hex[:8]}")
    await as_superuser(recording, "postgres", "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
    recording.stop()
    recording.start()
    return created


async def test_queries_without_values_and_those_of_other_logins_without_a_text(
    recording: PostgresServer, recorded: CreatedDatabase
) -> None:
    await as_superuser(recording, recorded.name, EXTENSION)
    async with as_admin(recorded) as db:
        await db.execute(text(f"SELECT '{NAME}' AS name, pg_sleep(0.05)"))
        await db.execute(text("SET LOCAL application_name = 'ann personal'"))
    async with opened(recorded.url) as worker, worker.transaction() as db:
        await db.execute(text(f"SELECT '{NAME}' AS student, pg_sleep(0.1)"))
    found = await read(recorded)
    assert found.statement_statistics == "available"
    texts = {each.query: each for each in found.statements}
    own = next(each for query, each in texts.items() if query and "AS name" in query)
    assert (own.login, own.calls) == (recorded.staff_login, 1)
    assert own.total_milliseconds >= 50 and own.average_microseconds >= 50_000
    hidden = [each for each in found.statements if each.query is None]
    assert recorded.name in {each.login for each in hidden}
    assert max(each.average_microseconds for each in hidden) >= 100_000
    assert "personal" not in str(found).lower()
    assert not any("set local" in (each.query or "").lower() for each in found.statements)
    averages = [each.average_microseconds for each in found.statements]
    assert averages == sorted(averages, reverse=True) and len(averages) <= 10


async def test_an_extension_that_this_login_may_not_read(recording: PostgresServer, recorded: CreatedDatabase) -> None:
    await as_superuser(recording, recorded.name, 'CREATE SCHEMA "Only mine"', f'{EXTENSION} SCHEMA "Only mine"')
    found = await read(recorded)
    assert (found.statement_statistics, found.statements) == ("not_permitted", [])


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("SELECT  a1\n FROM t WHERE x = $12\tORDER BY 1", "SELECT a1 FROM t WHERE x = $12 ORDER BY ?"),
        ("SELECT 4890, 12.5 FROM t2", "SELECT ?, ? FROM t2"),
        ("SELECT * FROM students WHERE name = 'Ann'", None),
        ("SELECT * FROM students WHERE name = $$Ann$$", None),
        ("SELECT * FROM students WHERE name = $q1$Ann$q1$", None),
        ("<insufficient privilege>", None),
    ],
)
def test_a_query_has_no_values(query: str, shown: str | None) -> None:
    assert without_values(query) == shown


def test_a_long_query_is_cut() -> None:
    assert len(without_values("SELECT " + "a, " * 1000) or "") == LONGEST_QUERY


def app_of(database_url: str, staff_url: str) -> FastAPI:
    settings = ApiSettings(
        database_url=SecretStr(database_url),
        staff_database_url=SecretStr(staff_url),
        jwt_secret=SecretStr(JWT["JWT_SECRET"]),
        jwt_issuer=JWT["JWT_ISSUER"],
        jwt_audience=JWT["JWT_AUDIENCE"],
    )
    return create_api("enrollment", description="", routers=[], settings=settings)


async def call(app: FastAPI, role: str | None = "admin", **query: Any) -> httpx.Response:
    headers = bearer(uuid4(), role) if role else {}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.get(PATH, headers=headers, params=query)
    await app.state.database.close()
    return answer


async def test_admins_read_it(created: CreatedDatabase) -> None:
    answer = await call(app_of(created.api_url, created.staff_url))
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store"), answer.text
    found = answer.json()
    assert 0 < found["cache_hit_ratio"] <= 10_000
    assert (found["slow_queries_available"], found["slow_queries"]) == ("not_installed", [])
    assert created.name not in answer.text, "nor where it is"


@pytest.mark.parametrize(
    ("role", "status"), [("student", 403), ("case_manager", 403), ("specialist", 403), (None, 401)]
)
async def test_nobody_else_reads_it(created: CreatedDatabase, role: str | None, status: int) -> None:
    assert (await call(app_of(created.api_url, created.staff_url), role)).status_code == status


async def test_it_has_no_parameters(created: CreatedDatabase) -> None:
    answer = await call(app_of(created.api_url, created.staff_url), query="pg_authid")
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_parameter")


async def test_a_database_that_is_down_is_no_error_of_ours() -> None:
    nowhere = "postgresql://nobody:x@127.0.0.1:1/nothing"
    answer = await call(app_of(nowhere, nowhere))
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
