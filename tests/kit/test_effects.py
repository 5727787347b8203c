"""Effects: wanted with the commit, performed at least once, recorded exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
from tests.waiting import until

from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork
from kit.jobs.jobs import Job
from kit.jobs.worker import JobWorker
from kit.runtime.backoff import Backoff
from kit.runtime.failures import Permanent, Transient


class Outside:
    """A part of the outside world that fails as ordered, and remembers by key what it did."""

    backoff = Backoff(first=timedelta(milliseconds=50), longest=timedelta(milliseconds=100), attempts=4)

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.did: list[str] = []

    async def perform(self, job: Job) -> str:
        self.did.append(job.key)
        if self.failures:
            raise self.failures.pop(0)
        return f"did {job.payload['what']} at attempt {job.attempt}"

    async def record(self, job: Job, result: str, uow: UnitOfWork) -> None:
        await _note(uow, job.key, result)

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        await _note(uow, job.key, f"gave up: {error}")


async def _note(uow: UnitOfWork, key: str, note: str) -> None:
    await uow.db.execute(text("INSERT INTO done VALUES (:key, :note)"), {"key": key, "note": note})


async def want(database: Database, *keys: str) -> list[bool]:
    async with database.transaction() as db:
        uow = UnitOfWork(db=db, source="tests", now=datetime.now(UTC))
        return [await uow.enqueue("test.act", key=key, payload={"what": "it"}) for key in keys]


async def notes(database: Database) -> list[tuple[str, str]]:
    async with database.transaction() as db:
        rows = await db.execute(text("SELECT event_id, note FROM done ORDER BY event_id"))
        return [(row.event_id, row.note) for row in rows]


@asynccontextmanager
async def performing(database: Database, *handlers: Any) -> AsyncIterator[None]:
    stop = asyncio.Event()
    workers = [JobWorker(database, "tests", {"test.act": handler}) for handler in handlers]
    tasks = [asyncio.create_task(worker.run(stop)) for worker in workers]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def test_an_effect_wanted_twice_is_done_once(database: Database) -> None:
    assert await want(database, "mail-1", "mail-1") == [True, False]
    outside = Outside()
    async with performing(database, outside):

        async def recorded() -> list[tuple[str, str]]:
            return await notes(database)

        await until(recorded)
    assert outside.did == ["mail-1"]
    assert await notes(database) == [("mail-1", "did it at attempt 1")]


async def test_what_may_work_later_is_tried_again_with_the_same_key(database: Database) -> None:
    await want(database, "mail-2")
    outside = Outside(Transient("away"), RuntimeError("a surprise"))
    async with performing(database, outside):

        async def recorded() -> list[tuple[str, str]]:
            return await notes(database)

        await until(recorded)
    assert outside.did == ["mail-2"] * 3
    assert await notes(database) == [("mail-2", "did it at attempt 3")]


async def test_a_refusal_is_given_up_at_once_and_recorded(database: Database) -> None:
    await want(database, "mail-3")
    outside = Outside(Permanent("no such address"))
    async with performing(database, outside):

        async def recorded() -> list[tuple[str, str]]:
            return await notes(database)

        await until(recorded)
    assert outside.did == ["mail-3"]
    assert await notes(database) == [("mail-3", "gave up: no such address")]


async def test_after_the_last_attempt_it_is_given_up(database: Database) -> None:
    await want(database, "mail-4")
    outside = Outside(*(Transient("away") for _ in range(10)))
    async with performing(database, outside):

        async def recorded() -> list[tuple[str, str]]:
            return await notes(database)

        await until(recorded)
    assert len(outside.did) == outside.backoff.attempts


async def test_several_performers_share_the_work(database: Database) -> None:
    keys = [f"mail-{n:03}" for n in range(100)]
    await want(database, *keys)
    first, second = Outside(), Outside()
    async with performing(database, first, second):

        async def all_recorded() -> bool:
            return len(await notes(database)) == 100

        await until(all_recorded)
    assert sorted(first.did + second.did) == keys


async def test_a_performer_that_died_is_replaced_after_its_lease(database: Database) -> None:
    """It had taken the effect and perhaps done it: another does it again under the same key, and records it once."""
    await want(database, "mail-5")
    dead = JobWorker(database, "tests", {"test.act": Outside()})
    (taken,) = await dead._take(1)
    assert await dead._take(1) == []
    async with database.transaction() as db:
        await db.execute(text("UPDATE jobs SET available_at = now() - interval '1 second'"))
    outside = Outside()
    async with performing(database, outside):

        async def recorded() -> list[tuple[str, str]]:
            return await notes(database)

        await until(recorded)
    await dead.attempt(taken)  # the one given up for dead comes back: what it does is not recorded again
    assert await notes(database) == [("mail-5", "did it at attempt 2")]
