"""The journal's tables: who may write them, their migration, and queries that stay fast."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Connection, event, text
from tests.databases import migrated, opened
from tests.waiting import until
from tests.webhook_gateway.relay_steps import RelaySteps, paid
from tests.webhook_gateway.stripe_events import body_of, sign

import webhook_gateway
from kit.db import migrate
from kit.db.database import Database
from kit.messaging.broker import Publisher
from testkit.postgres_server import Database as CreatedDatabase
from testkit.postgres_server import PostgresServer
from testkit.rabbit_server import RabbitServer
from webhook_gateway import due
from webhook_gateway.event import parse_event
from webhook_gateway.journal import EventConflict, Journal, JournalDown
from webhook_gateway.tables import Lane, Source

MIGRATIONS = migrate.folder_of(webhook_gateway.__file__)
PREVIOUS_INSERT = """
    INSERT INTO journal (event_id, type, body)
    SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[]) AS each (event_id, type, body)
    ORDER BY each.event_id
    ON CONFLICT (event_id) DO NOTHING
    RETURNING event_id
"""
"""The statement of the previous version's API."""


@pytest.fixture(scope="module")
def created(postgres_server: PostgresServer) -> CreatedDatabase:
    return migrated(postgres_server, "gateway_tables", webhook_gateway.__file__)


@pytest.fixture
async def stolen(created: CreatedDatabase) -> AsyncIterator[asyncpg.Connection]:
    """The API's database login, and nothing else."""
    connection: asyncpg.Connection = await asyncpg.connect(created.api_url)
    yield connection
    await connection.close()


@pytest.fixture
async def owner(created: CreatedDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection: asyncpg.Connection = await asyncpg.connect(created.owner_url)
    yield connection
    await connection.close()


@pytest.fixture
async def database(created: CreatedDatabase) -> AsyncIterator[Database]:
    async with opened(created.url) as database:
        yield database


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO journal_events (event_id, type, body, source) VALUES ('evt_1', 'a', '{}', 'fetched')",
        "INSERT INTO journal_entries (event_id, month) VALUES ('evt_1', now())",
        "INSERT INTO journal_due (event_id, month) VALUES ('evt_1', now())",
        "SELECT * FROM journal_write(ARRAY['evt_1'], ARRAY['a'], ARRAY[''::bytea], ARRAY['t'], ARRAY['fetched'])",
        "SELECT body FROM journal_events",
        "SELECT event_id FROM journal_entries",
        "DELETE FROM journal_due",
        "UPDATE journal_replay SET next_at = 'infinity'",
        "SELECT maintain_journal_events('1 second')",
    ],
)
async def test_the_api_login_has_no_right_to_the_tables(stolen: asyncpg.Connection, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await stolen.execute(statement)


async def test_what_the_api_login_writes_is_a_delivery(stolen: asyncpg.Connection, owner: asyncpg.Connection) -> None:
    await stolen.fetch(
        "SELECT * FROM journal_write_deliveries($1, $2, $3, $4)", ["evt_stolen"], ["a"], [b"{}"], ["t=1,v1=00"]
    )
    assert await owner.fetchval("SELECT source FROM journal_events WHERE event_id = 'evt_stolen'") == Source.WEBHOOK


async def test_a_conflict_is_found_in_another_month(database: Database, owner: asyncpg.Connection) -> None:
    """The rows are in another partition than the one that is written now."""
    await owner.execute("TRUNCATE journal_due, journal_entries, journal_events")
    first = paid()
    journal = Journal(database.url)
    assert await journal.write(parse_event(body_of(first)))
    await owner.execute(
        "CREATE TABLE journal_events_2001_02 PARTITION OF journal_events "
        "FOR VALUES FROM ('2001-02-01') TO ('2001-03-01')"
    )
    for table in ("journal_events", "journal_entries", "journal_due"):
        await owner.execute(f"UPDATE {table} SET month = '2001-02-01'")
    assert await journal.write(parse_event(body_of({**first, "pending_webhooks": 0}))) is False
    with pytest.raises(EventConflict):
        await journal.write(parse_event(body_of({**first, "created": 1_600_000_000})))

    async def months() -> int:
        async with database.transaction() as db:
            await due.maintain_partitions(db, keep=timedelta(days=60))
            return int((await db.execute(text("SELECT count(*) FROM journal_events"))).scalar_one())

    assert await months() == 1, "an event that is not published keeps its month"
    await owner.execute("DELETE FROM journal_due")
    assert await months() == 0
    assert await journal.write(parse_event(body_of(first))) is False, "it is known after its month was dropped"
    await journal.close()


async def test_the_previous_version_runs_beside_this_one(
    postgres_server: PostgresServer, rabbit_server: RabbitServer
) -> None:
    created = await asyncio.to_thread(postgres_server.create_database, "gateway_previous")
    await asyncio.to_thread(migrate.upgrade, created.owner_url, MIGRATIONS, "0002")
    published, unpublished, later = paid(), paid(), paid()

    async def insert(*events: dict[str, Any]) -> list[str]:
        rows = [each["id"] for each in events], [each["type"] for each in events], [body_of(each) for each in events]
        return [row["event_id"] for row in await api.fetch(PREVIOUS_INSERT, *rows)]

    api = await asyncpg.connect(created.api_url)
    await insert(published, unpublished)
    await api.close()
    owner = await asyncpg.connect(created.owner_url)
    await owner.execute(
        "UPDATE journal SET published_at = now(), event_count = 1, received_at = '2026-03-05' WHERE event_id = $1",
        published["id"],
    )
    await asyncio.to_thread(migrate.upgrade, created.owner_url, MIGRATIONS)
    api = await asyncpg.connect(created.api_url)
    assert await insert(later, unpublished) == [later["id"]]
    await api.close()

    async with opened(created.url) as database:
        publisher = Publisher(rabbit_server.url, name="tests")
        steps = RelaySteps(database, rabbit_server.url, publisher)
        await steps.bind("payment.succeeded.v1")
        await steps.relay().publish_due()
        assert sorted(await steps.received()) == sorted([unpublished["id"], later["id"]])
        await publisher.close()
    assert await owner.fetchval("SELECT count(*) FROM journal_events_2026_03") == 1
    assert await owner.fetchval("SELECT count(*) FROM journal_events") == 3

    definition = await owner.fetchval("SELECT pg_get_functiondef('journal_copy_previous'::regproc)")
    await owner.execute(definition.replace("now() >", "now() + interval '25 hours' >"))
    api = await asyncpg.connect(created.api_url)
    with pytest.raises(asyncpg.RaiseError):
        await insert(paid())
    await api.close()
    await owner.close()


async def test_while_the_database_is_down_writing_fails_at_once(database: Database) -> None:
    journal = Journal(database.url.replace("@", "x@"))
    with pytest.raises(JournalDown):
        await journal.write(parse_event(body_of(paid())))
    assert all([isinstance(await outcome_of(journal), JournalDown) for _ in range(2000)])
    await journal.close()


async def outcome_of(journal: Journal) -> object:
    try:
        return await journal.write(parse_event(body_of(paid())))
    except JournalDown as error:
        return error


async def test_a_journal_that_was_down_recovers_by_itself(database: Database, postgres_server: PostgresServer) -> None:
    journal = Journal(database.url)
    assert await journal.write(parse_event(body_of(paid())))
    admin = await asyncpg.connect(postgres_server.admin_url)
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'gateway_tables' AND pid <> $1",
        admin.get_server_pid(),
    )
    await admin.close()

    async def is_written() -> bool:
        return await outcome_of(journal) is True

    await until(is_written)
    await journal.close()


async def test_the_queries_of_the_relay_stay_fast_at_a_million_rows(
    database: Database, owner: asyncpg.Connection
) -> None:
    """A replay of half a million events, as many that wait for their next attempt, and a few that are due."""
    await owner.execute("TRUNCATE journal_due, journal_entries, journal_events")
    await owner.execute(
        "INSERT INTO journal_due (event_id, month, lane, available_at, attempts) "
        "SELECT 'evt_' || n, '2026-11-01', CASE WHEN n % 2 = 0 THEN 'replay' ELSE 'live' END, "
        "CASE WHEN n % 2 = 0 THEN now() - interval '1 day' ELSE now() + interval '1 day' END, n % 2 "
        "FROM generate_series(1, 1000000) AS n"
    )
    await owner.execute(
        "INSERT INTO journal_due (event_id, month) SELECT 'new_' || n, now() FROM generate_series(1, 20) AS n"
    )
    journal = Journal(database.url)
    assert await journal.write(parse_event(body_of(paid()), signature=sign(b"")))
    await journal.close()
    for analyzed in (False, True):
        if analyzed:
            await owner.execute("ANALYZE journal_due")
        plans = await _plans_of(database)
        assert len(plans) >= 9
        for statement, nodes in plans:
            assert not {"Seq Scan on journal_due", "Sort", "Incremental Sort"} & set(nodes), statement


async def _plans_of(database: Database) -> list[tuple[str, list[str]]]:
    """Every statement of the loops that names journal_due, with the nodes of its plan."""
    statements: list[tuple[str, Any]] = []

    def remember(_: Connection, __: object, statement: str, parameters: Any, *___: object) -> None:
        statements.append((statement, parameters))

    async with database.engine.connect() as connection:
        event.listen(connection.sync_connection, "before_cursor_execute", remember)
        events = await due.lock(connection, Lane.LIVE, limit=200)
        await due.lock_replay(connection)
        await due.lock(connection, Lane.REPLAY, limit=5)
        await due.complete(connection, [due.Published(each.event_id, 1, b"") for each in events])
        await due.defer(connection, [due.Deferred("evt_2", 1, timedelta(seconds=1), "an error")])
        await due.measure(connection)
        event.remove(connection.sync_connection, "before_cursor_execute", remember)
        plans = []
        for statement, parameters in statements:
            if "journal_due" in statement:
                explained = await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
                plan = explained.scalar_one()
                plans.append(
                    (statement, list(_nodes((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"])))
                )
        await connection.rollback()
    return plans


def _nodes(plan: dict[str, Any]) -> Iterator[str]:
    yield f"{plan['Node Type']} on {plan['Relation Name']}" if "Relation Name" in plan else plan["Node Type"]
    for each in plan.get("Plans", ()):
        yield from _nodes(each)
