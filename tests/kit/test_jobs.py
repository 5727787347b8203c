"""Jobs: enqueued with the commit, performed at least once, recorded exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from tests.metrics import total
from tests.waiting import until

from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork
from kit.jobs import worker as worker_module
from kit.jobs.jobs import Job, NewJob, expedite_all, put_all
from kit.jobs.worker import JobWorker
from kit.messaging import wakeup as wakeup_module
from kit.messaging.gauges import Backlog
from kit.runtime.backoff import Backoff
from kit.runtime.failures import Permanent, Transient
from kit.runtime.trace import Cause


class Handler:
    """A job handler that fails with the given errors first, and records the keys of its attempts."""

    backoff = Backoff(first=timedelta(milliseconds=50), longest=timedelta(milliseconds=100), attempts=4)

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.attempted: list[str] = []

    async def perform(self, job: Job) -> str:
        self.attempted.append(job.key)
        if self.failures:
            raise self.failures.pop(0)
        return f"sent {job.payload['what']} at attempt {job.attempt}"

    async def record(self, job: Job, result: str, uow: UnitOfWork) -> None:
        await _insert_note(uow, job.key, result)

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        await _insert_note(uow, job.key, f"gave up: {error}")


async def _insert_note(uow: UnitOfWork, key: str, note: str) -> None:
    await uow.db.execute(text("INSERT INTO done VALUES (:key, :note)"), {"key": key, "note": note})


async def enqueue(database: Database, *keys: str) -> list[bool]:
    async with database.transaction() as db:
        new = [NewJob(kind="test.act", key=key, payload={"what": "it"}) for key in keys]
        return [bool(await put_all(db, [each])) for each in new]


async def notes(database: Database) -> list[tuple[str, str]]:
    async with database.transaction() as db:
        rows = await db.execute(text("SELECT event_id, note FROM done ORDER BY event_id"))
        return [(row.event_id, row.note) for row in rows]


@asynccontextmanager
async def workers_of(database: Database, *handlers: Any) -> AsyncIterator[None]:
    stop = asyncio.Event()
    workers = [JobWorker(database, "tests", {"test.act": handler}) for handler in handlers]
    tasks = [asyncio.create_task(worker.run(stop)) for worker in workers]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def test_a_job_enqueued_twice_is_performed_once(database: Database) -> None:
    assert await enqueue(database, "mail-1", "mail-1") == [True, False]
    handler = Handler()
    async with workers_of(database, handler):

        async def recorded() -> list[tuple[str, str]]:
            return await notes(database)

        await until(recorded)
    assert handler.attempted == ["mail-1"]
    assert await notes(database) == [("mail-1", "sent it at attempt 1")]


async def test_many_jobs_are_enqueued_in_one_statement(database: Database) -> None:
    await enqueue(database, "there-already")
    later = datetime(2030, 1, 1, tzinfo=UTC)
    cause = Cause(id="evt", subject="purchase", correlation_id="c", traceparent="00-a-b-01")
    new = [
        NewJob(kind="test.act", key="there-already", payload={}),
        NewJob(kind="test.act", key="first", payload={"what": "a"}, cause=cause, available_at=later),
        NewJob(kind="test.act", key="first", payload={"what": "a second copy"}),
        NewJob(kind="test.act", key="second", payload={"what": "b"}),
    ]
    async with database.transaction() as db:
        assert await put_all(db, new) == {("test.act", "first"), ("test.act", "second")}
        assert await put_all(db, new) == frozenset()
        assert await put_all(db, []) == frozenset()
        rows = await db.execute(text("SELECT key, payload ->> 'what', cause ->> 'id', available_at > now() FROM jobs"))
        assert sorted((key, what, cause, waits) for key, what, cause, waits in rows) == [
            ("first", "a", "evt", True),
            ("second", "b", None, False),
            ("there-already", "it", None, False),
        ]


async def test_a_failed_job_is_retried_with_the_same_key(database: Database) -> None:
    await enqueue(database, "mail-2")
    handler = Handler(Transient("unavailable"), RuntimeError("a bug"))
    async with workers_of(database, handler):

        async def recorded() -> list[tuple[str, str]]:
            return await notes(database)

        await until(recorded)
    assert handler.attempted == ["mail-2"] * 3
    assert await notes(database) == [("mail-2", "sent it at attempt 3")]


async def test_a_permanent_failure_is_given_up_at_once_and_recorded(database: Database) -> None:
    await enqueue(database, "mail-3")
    handler = Handler(Permanent("no such address"))
    async with workers_of(database, handler):

        async def recorded() -> list[tuple[str, str]]:
            return await notes(database)

        await until(recorded)
    assert handler.attempted == ["mail-3"]
    assert await notes(database) == [("mail-3", "gave up: no such address")]
    await Backlog(database, ["test.act"], ()).measure()
    assert total("bursar_job_rows", state="failed") == 1


async def test_a_job_is_given_up_after_its_last_attempt(database: Database) -> None:
    await enqueue(database, "mail-4")
    handler = Handler(*(Transient("unavailable") for _ in range(10)))
    async with workers_of(database, handler):

        async def recorded() -> list[tuple[str, str]]:
            return await notes(database)

        await until(recorded)
    assert len(handler.attempted) == handler.backoff.attempts


async def test_several_workers_share_the_jobs(database: Database) -> None:
    keys = [f"mail-{n:03}" for n in range(100)]
    await enqueue(database, *keys)
    first, second = Handler(), Handler()
    async with workers_of(database, first, second):

        async def all_recorded() -> bool:
            return len(await notes(database)) == 100

        await until(all_recorded)
    assert sorted(first.attempted + second.attempted) == keys


async def test_an_attempt_that_hangs_is_retried(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "ATTEMPT_SECONDS", 0.2)
    await enqueue(database, "mail-6")

    class Hanging(Handler):
        async def perform(self, job: Job) -> str:
            if job.attempt == 1:
                await asyncio.sleep(30)  # longer than anybody waits here
            return await super().perform(job)

    async with workers_of(database, Hanging()):

        async def recorded() -> list[tuple[str, str]]:
            return await notes(database)

        await until(recorded)
    assert await notes(database) == [("mail-6", "sent it at attempt 2")]


async def test_an_idle_worker_is_woken_by_the_commit(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would find the job only after an hour."""
    monkeypatch.setattr(wakeup_module, "SWEEP_SECONDS", 3600)
    monkeypatch.setattr(wakeup_module, "IDLE_AFTER_SECONDS", 0.1)

    async def idle() -> object:
        async with database.transaction() as db:
            return await db.scalar(text("SELECT 1 FROM idle_workers WHERE channel = 'jobs'"))

    async def recorded() -> list[tuple[str, str]]:
        return await notes(database)

    async with workers_of(database, Handler()):
        await until(idle)
        await asyncio.sleep(0.5)  # it has looked for the last time
        await enqueue(database, "mail-7")
        await until(recorded)


async def test_a_job_that_is_expedited_wakes_the_worker(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakeup_module, "SWEEP_SECONDS", 3600)
    async with database.transaction() as db:
        later = datetime.now(UTC) + timedelta(days=1)
        await put_all(db, [NewJob(kind="test.act", key="mail-8", payload={"what": "it"}, available_at=later)])

    async def recorded() -> list[tuple[str, str]]:
        return await notes(database)

    async with workers_of(database, Handler()):
        await asyncio.sleep(2)
        async with database.transaction() as db:
            await expedite_all(db, kind="test.act", due={"mail-8": datetime.now(UTC)})
        await until(recorded)


async def test_a_job_that_has_been_started_is_not_expedited(database: Database) -> None:
    """Its `available_at` is the end of a lease: a second worker would perform it at the same time."""
    await enqueue(database, "mail-9")
    worker = JobWorker(database, "tests", {"test.act": Handler()})
    assert len(await worker.take(1)) == 1
    async with database.transaction() as db:
        await expedite_all(db, kind="test.act", due={"mail-9": datetime.now(UTC)})
    assert await worker.take(1) == []


async def test_a_worker_that_has_lost_its_lease_records_nothing(database: Database) -> None:
    """Neither its result, nor when the job of the other worker is attempted again."""
    await enqueue(database, "mail-10", "mail-11")
    slow = JobWorker(database, "tests", {"test.act": Handler(Transient("unavailable"))})
    lost = sorted(await slow.take(2), key=lambda job: job.key)
    async with database.transaction() as db:
        await db.execute(text("UPDATE jobs SET available_at = now() - interval '1 second'"))
    other = JobWorker(database, "tests", {"test.act": Handler(Permanent("invalid"))})
    assert len(await other.take(2)) == 2
    for job in lost:  # one fails, the other succeeds
        await slow.attempt(job)
    assert await notes(database) == []
    async with database.transaction() as db:
        rows = (await db.execute(text("SELECT attempts, done_at, last_error, available_at > now() FROM jobs"))).all()
    assert [tuple(row) for row in rows] == [(2, None, None, True)] * 2
    assert await other.take(2) == [], "both are leased"


async def test_the_job_of_a_worker_that_died_is_retried_after_its_lease(database: Database) -> None:
    """It may have performed the job: another worker repeats it with the same key, and it is recorded once."""
    await enqueue(database, "mail-5")
    dead = JobWorker(database, "tests", {"test.act": Handler()})
    (taken,) = await dead.take(1)
    assert await dead.take(1) == []
    async with database.transaction() as db:
        await db.execute(text("UPDATE jobs SET available_at = now() - interval '1 second'"))
    handler = Handler()
    async with workers_of(database, handler):

        async def recorded() -> list[tuple[str, str]]:
            return await notes(database)

        await until(recorded)
    await dead.attempt(taken)  # the worker that was presumed dead finishes: its result is not recorded again
    assert await notes(database) == [("mail-5", "sent it at attempt 2")]
