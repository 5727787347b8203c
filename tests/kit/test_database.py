"""Connections of the pool: what happens to those that the server has closed or that have become read-only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError
from tests.waiting import until

from kit.db.database import Database, is_down, waited_for_a_lock
from kit.runtime.failures import Transient
from testkit import postgres_server as pg

INSERT = text("INSERT INTO done (event_id) VALUES ('evt_1')")


@pytest.fixture
async def admin(prepared: pg.Database, postgres_server: pg.PostgresServer) -> AsyncIterator[Database]:
    """A superuser's connections to the same database, which stay writable."""
    admin = Database(postgres_server.admin_url.rpartition("/")[0] + f"/{prepared.name}", pool_size=2)
    async with admin.engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    yield admin
    await admin.close()


async def fill_pool(database: Database, connections: int = 3) -> None:
    ready = asyncio.Barrier(connections)

    async def use() -> None:
        async with database.transaction() as db:
            await db.execute(text("SELECT 1"))
            await ready.wait()

    await asyncio.gather(*(use() for _ in range(connections)))


async def insert(database: Database) -> None:
    async with database.transaction() as db:
        await db.execute(INSERT)


async def test_taking_a_connection_from_the_pool_is_no_round_trip(database: Database) -> None:
    """The driver logs what is not a prepared statement; a ping is BEGIN, an empty query and ROLLBACK."""
    logged: list[str] = []
    async with database.engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        driver.add_query_logger(lambda record: logged.append(record.query))
    await insert(database)
    assert [query.partition(" ")[0].strip(";") for query in logged] == ["BEGIN", "COMMIT"]


async def test_connections_that_the_server_has_closed_are_replaced(database: Database, admin: Database) -> None:
    drivers: set[Any] = set()
    event.listen(database.engine.sync_engine, "checkin", lambda found, _: drivers.add(found.driver_connection))
    await fill_pool(database)
    assert len(drivers) == 3
    closed: list[object] = []
    event.listen(database.engine.sync_engine, "invalidate", lambda *found: closed.append(found))
    async with admin.transaction() as db:
        await db.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'kit_tests%'"),
        )

    async def all_closed() -> bool:
        return all(driver.is_closed() for driver in drivers)

    await until(all_closed)
    await fill_pool(database)
    await insert(database)
    assert len(closed) == 3


async def test_a_connection_that_dies_during_a_transaction_counts_as_an_outage(
    database: Database, admin: Database
) -> None:
    with pytest.raises(DBAPIError) as failed:
        async with database.transaction() as db:
            pid = await db.scalar(text("SELECT pg_backend_pid()"))
            async with admin.transaction() as other:
                await other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            await db.execute(INSERT)
    assert is_down(failed.value)
    await insert(database)


async def test_connections_that_became_read_only_are_dropped_and_fail_readiness(
    database: Database, admin: Database, prepared: pg.Database
) -> None:
    """As after a failover that keeps TCP connections alive: those of the pool lead to a server that is no primary."""
    await fill_pool(database)
    async with admin.transaction() as db:
        await db.execute(text(f"ALTER ROLE {prepared.name} SET default_transaction_read_only = on"))
    stale = Database(prepared.url, pool_size=3)
    try:
        await fill_pool(stale)
        with pytest.raises(Transient, match="read-only"):
            await stale.ping()
        await fill_pool(stale)
        async with admin.transaction() as db:
            await db.execute(text(f"ALTER ROLE {prepared.name} RESET default_transaction_read_only"))
        with pytest.raises(DBAPIError) as failed:
            await insert(stale)
        assert is_down(failed.value), "it does not count as the message's fault"
        for _ in range(3):
            await insert(stale)
        await fill_pool(stale)
        await stale.ping()
    finally:
        await stale.close()
        async with admin.transaction() as db:
            await db.execute(text(f"ALTER ROLE {prepared.name} RESET default_transaction_read_only"))


async def test_a_lock_that_is_held_too_long_is_recognized(database: Database) -> None:
    async with database.transaction() as holder:
        await holder.execute(text("LOCK TABLE done"))
        with pytest.raises(DBAPIError) as failed:
            async with database.transaction() as db:
                await db.execute(text("SET LOCAL lock_timeout = '50ms'"))
                await db.execute(INSERT)
    assert waited_for_a_lock(failed.value)
    assert is_down(failed.value)
