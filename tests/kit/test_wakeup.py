"""Idle workers: woken by the commit that adds a row, and by none while they are busy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import asyncpg
import pytest
from sqlalchemy import text
from tests.kit.open_proxy import staying_open
from tests.waiting import until

from kit.db.database import Database
from kit.messaging import wakeup as wakeup_module
from kit.messaging.outbox import CHANNEL, OutgoingMessage, put
from kit.messaging.wakeup import Wakeup

TERMINATE = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = :last")
"""Ends the connections of idle loops."""


@pytest.fixture(autouse=True)
def _only_notifications(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that is not notified hangs."""
    monkeypatch.setattr(wakeup_module, "SWEEP_SECONDS", 3600)
    monkeypatch.setattr(wakeup_module, "IDLE_AFTER_SECONDS", 0.1)


def message(key: str) -> OutgoingMessage:
    return OutgoingMessage(key=key, exchange="", routing_key="nowhere", body=b"{}")


async def take_due(database: Database) -> int:
    async with database.transaction() as db:
        return (await db.execute(text("DELETE FROM outbox_due"))).rowcount


async def idle_rows(database: Database) -> int:
    async with database.transaction() as db:
        return int(await db.scalar(text("SELECT count(*) FROM idle_workers")) or 0)


@asynccontextmanager
async def looking(database: Database, taken: list[int]) -> AsyncIterator[Wakeup]:
    """A loop that looks for due rows, and appends how many it has found."""
    stop = asyncio.Event()

    async def look(wakeup: Wakeup) -> None:
        while not stop.is_set():
            count = await take_due(database)
            if count:
                taken.append(count)
            await wakeup.wait(found=count > 0)

    async with Wakeup(database.url, CHANNEL, stop) as wakeup:
        task = asyncio.create_task(look(wakeup))
        try:
            yield wakeup
        finally:
            stop.set()
            await task


async def test_an_idle_loop_is_woken_by_a_commit(database: Database) -> None:
    taken: list[int] = []
    async with looking(database, taken) as wakeup:
        for number in range(3):
            await until(_async(lambda: wakeup.idle))
            async with database.transaction() as db:
                await put(db, message(f"m{number}"))
            await until(_async(partial(_sums_to, taken, number + 1)))
    assert await idle_rows(database) == 0, "who has ended is not idle"


async def test_a_commit_that_has_not_seen_the_idle_loop_is_not_lost(database: Database) -> None:
    """It had looked for idle workers before there was one, and commits after the loop has found nothing."""
    taken: list[int] = []
    async with database.transaction() as db:
        await put(db, message("crossing"))
        async with looking(database, taken) as wakeup:
            await until(lambda: idle_rows(database))
            await asyncio.sleep(0.3)
            assert not wakeup.idle, "it still polls, since the transaction is open"
            await db.commit()
            await until(_async(lambda: taken == [1]))


async def test_while_a_loop_is_busy_no_commit_notifies(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = await asyncpg.connect(database.url)
    received: list[object] = []
    await listener.add_listener(CHANNEL, lambda *_: received.append(1))
    taken: list[int] = []
    async with looking(database, taken) as wakeup:
        await until(_async(lambda: wakeup.idle))
        monkeypatch.setattr(wakeup_module, "IDLE_AFTER_SECONDS", 3600)
        async with database.transaction() as db:
            await put(db, message("first"))

        async def busy() -> bool:
            return not await idle_rows(database) and received != []

        await until(busy)
        received.clear()
        for number in range(100):
            async with database.transaction() as db:
                await put(db, message(f"m{number}"))
        await until(_async(lambda: sum(taken) == 101))
    async with database.transaction() as db:
        await db.execute(text("SELECT pg_notify(:channel, 'last')"), {"channel": CHANNEL})
    await until(_async(lambda: received != []))
    assert len(received) == 1, "the last one, and none before it"
    await listener.close()


async def test_a_loop_goes_on_when_the_server_has_ended_its_connection(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the server's last words and the end of the connection, the driver cannot be used."""
    monkeypatch.setattr(wakeup_module, "SWEEP_SECONDS", 0.2)
    taken: list[int] = []
    async with staying_open(database.url) as url, looking(Database(url), taken) as wakeup:
        await until(_async(lambda: wakeup.idle))
        async with database.transaction() as db:
            assert (await db.execute(TERMINATE, {"last": wakeup_module._OLDEST})).all() == [(True,)]
        await asyncio.sleep(0.5)
        async with database.transaction() as db:
            await put(db, message("while it is away"))
        await until(_async(lambda: taken == [1]))
        await until(_async(lambda: wakeup.idle), seconds=30)
        monkeypatch.setattr(wakeup_module, "SWEEP_SECONDS", 3600)
        async with database.transaction() as db:
            await put(db, message("when it is back"))
        await until(_async(lambda: taken == [1, 1]))


def _sums_to(taken: list[int], total: int) -> bool:
    return sum(taken) == total


def _async(condition: Callable[[], object]) -> Callable[[], Awaitable[bool]]:
    async def checked() -> bool:
        return bool(condition())

    return checked
