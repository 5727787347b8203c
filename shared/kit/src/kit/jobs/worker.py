"""The job worker: runs the jobs that are due, each under a lease, and records their results."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import uuid4

import structlog
from sqlalchemy import any_, func, select, update

from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.jobs.jobs import CHANNEL, Job, JobHandler, jobs
from kit.messaging.wakeup import Wakeup
from kit.runtime import metrics
from kit.runtime.failures import Permanent, describe, stack
from kit.runtime.outages import Outage
from kit.runtime.trace import Cause, trace_id

log = structlog.get_logger(__name__)

CONCURRENCY = 16
OUTAGE_SECONDS = 1.0
"""Before jobs are taken again after the database has refused."""
LEASE = timedelta(seconds=60)
"""Longer than any attempt may take. When it expires, the process that held it is presumed dead."""
ATTEMPT_SECONDS = 45.0


class JobWorker:
    """Several may run concurrently, in one process or many. `handlers`: by kind, the jobs that this worker runs."""

    def __init__(self, database: Database, source: str, handlers: Mapping[str, JobHandler[Any]]) -> None:
        self._database = database
        self._source = source
        self._handlers = handlers

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then finishes the attempts in progress."""
        async with Wakeup(self._database.url, CHANNEL, stop) as wakeup:
            stopping = asyncio.create_task(stop.wait())
            running: set[asyncio.Task[None]] = set()
            outage = Outage("taking jobs")
            while not stop.is_set():
                free = CONCURRENCY - len(running)
                if not free:
                    await asyncio.wait({*running, stopping}, return_when=asyncio.FIRST_COMPLETED)
                    continue
                taken: list[Job] = []
                try:
                    taken = await self.take(free)
                    outage.ended()
                except Exception as error:
                    outage.failed(error)
                    await wakeup.pause(OUTAGE_SECONDS)
                    continue
                for job in taken:
                    task = asyncio.create_task(self.attempt(job))
                    running.add(task)
                    task.add_done_callback(running.discard)
                if len(taken) < free:
                    await wakeup.wait(found=bool(taken))
            stopping.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def take(self, limit: int) -> list[Job]:
        """Leases up to `limit` jobs that are due."""
        if limit <= 0:
            return []
        due = (
            select(jobs.c.id)
            .where(
                jobs.c.kind.in_(self._handlers),
                jobs.c.done_at.is_(None),
                jobs.c.failed_at.is_(None),
                jobs.c.available_at <= func.now(),
            )
            .order_by(jobs.c.available_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        lease = (
            update(jobs)
            .where(jobs.c.id == any_(func.array(due.scalar_subquery())))  # by the primary key, however many rows
            .values(attempts=jobs.c.attempts + 1, available_at=func.now() + LEASE, lease=uuid4())
            .returning(jobs)
        )
        async with self._database.transaction() as db:
            rows = (await db.execute(lease)).all()
        return [
            Job(
                id=row.id,
                kind=row.kind,
                key=row.key,
                payload=row.payload,
                cause=Cause(**row.cause) if row.cause else None,
                attempt=row.attempts,
                lease=row.lease,
            )
            for row in rows
        ]

    async def attempt(self, job: Job) -> None:
        """Makes one attempt and records its result. Never raises: an unrecorded job is retried after its lease."""
        context = {"job": str(job.id)}
        if job.cause is not None:
            context |= {"correlation": job.cause.correlation_id, "trace": trace_id(job.cause.traceparent)}
        with structlog.contextvars.bound_contextvars(**context):
            await self._attempt(job)

    async def _attempt(self, job: Job) -> None:
        handler = self._handlers[job.kind]
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                result = await handler.perform(job)
            async with self._database.transaction() as db:
                if await self._finish(db, job, done_at=func.now()):
                    await handler.record(job, result, self._unit_of_work(db, job))
            metrics.JOBS.labels(job.kind, "done").inc()
        except Exception as error:
            try:
                await self._failed(job, error, handler)
            except Exception as second:
                log.warning("job result not recorded", kind=job.kind, error=describe(second))

    async def _failed(self, job: Job, error: Exception, handler: JobHandler[Any]) -> None:
        final = isinstance(error, Permanent) or handler.backoff.exhausted(job.attempt)
        outcome = "failed" if final else "rescheduled"
        metrics.JOBS.labels(job.kind, outcome).inc()
        log.warning(
            "job failed",
            kind=job.kind,
            attempt=job.attempt,
            outcome=outcome,
            error=describe(error),
            at=stack(error, limit=3),
        )
        async with self._database.transaction() as db:
            if final:
                if await self._finish(db, job, failed_at=func.now(), last_error=describe(error)):
                    await handler.give_up(job, error, self._unit_of_work(db, job))
            else:
                later = func.now() + handler.backoff.delay(job.attempt)
                await self._finish(db, job, available_at=later, last_error=describe(error))

    async def _finish(self, db: Any, job: Job, **values: Any) -> bool:
        """False if the lease has expired and another worker has taken or recorded this job."""
        own = jobs.c.lease.is_not_distinct_from(job.lease)
        pending = (jobs.c.id == job.id, own, jobs.c.done_at.is_(None), jobs.c.failed_at.is_(None))
        changed = await db.execute(update(jobs).where(*pending).values(**values))
        return bool(changed.rowcount == 1)

    def _unit_of_work(self, db: Any, job: Job) -> UnitOfWork:
        return UnitOfWork(db=db, source=self._source, now=utc_now(), cause=job.cause)
