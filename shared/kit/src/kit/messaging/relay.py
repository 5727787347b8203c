"""The relay: publishes the outbox, pipelined, and marks a row as published only after its confirm."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog
from sqlalchemy import Row, delete, func, select, update

from kit.db.database import Database, is_down
from kit.http.idempotency import idempotency_keys
from kit.jobs.jobs import jobs
from kit.messaging.broker import BrokerDown, Publisher, Unpublishable, Unroutable
from kit.messaging.inbox import inbox
from kit.messaging.outbox import WAKE_CHANNEL, OutgoingMessage, outbox
from kit.messaging.wakeup import Wakeup
from kit.runtime import metrics
from kit.runtime.backoff import Backoff
from kit.runtime.failures import describe

log = structlog.get_logger(__name__)

BATCH = 200
SWEEP_SECONDS = 1.0
KEEP_PUBLISHED = timedelta(days=7)
KEEP_INBOX = timedelta(days=45)
"""Longer than the 30 days for which Stripe lists events: any event that can be replayed is still recognized."""

KEEP_KEYS = timedelta(days=2)
"""Idempotency-Keys. Stripe keeps them for one day."""
KEEP_PAYLOADS = timedelta(days=30)
"""Payloads of done jobs may contain personal data. The rows themselves are kept."""

RETRY = Backoff(first=timedelta(seconds=0.5), longest=timedelta(minutes=1))


async def keep_publishing(publish_due: Callable[[], Awaitable[bool]], database_url: str, stop: asyncio.Event) -> None:
    """Calls `publish_due` whenever rows may be due, until `stop` is set.

    `publish_due` returns whether more rows may be due. If it raises, it is called again after a backoff.
    """
    failures = 0
    async with Wakeup(database_url, WAKE_CHANNEL) as wakeup:
        stopping = asyncio.create_task(_wake_on_stop(stop, wakeup))
        try:
            while not stop.is_set():
                try:
                    more = await publish_due()
                    failures = 0
                    if not more:
                        await wakeup.wait(SWEEP_SECONDS)
                except Exception as error:
                    failures += 1
                    outage = isinstance(error, BrokerDown) or is_down(error)
                    log.warning("publishing failed", error=describe(error), failures=failures, exc_info=not outage)
                    await wakeup.wait(min(RETRY.delay(failures).total_seconds(), 5.0))
        finally:
            stopping.cancel()


async def _wake_on_stop(stop: asyncio.Event, wakeup: Wakeup) -> None:
    await stop.wait()
    wakeup.set()


class Relay:
    """Several may run concurrently: each takes rows that no other one has locked."""

    def __init__(self, database: Database, publisher: Publisher) -> None:
        self._database = database
        self._publisher = publisher

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. Survives outages of broker and database without losing a message."""
        housekeeping = asyncio.create_task(self._run_housekeeping(stop))
        try:
            await keep_publishing(self.publish_due, self._database.url, stop)
        finally:
            housekeeping.cancel()
            await asyncio.gather(housekeeping, return_exceptions=True)

    async def publish_due(self) -> bool:
        """Publishes one batch. Returns whether more rows may be due. Raises BrokerDown if none could be published."""
        async with self._database.transaction() as db:
            due = (
                select(outbox)
                .where(outbox.c.published_at.is_(None), outbox.c.available_at <= func.now())
                .order_by(outbox.c.id)
                .limit(BATCH)
                .with_for_update(skip_locked=True)
            )
            rows = (await db.execute(due)).all()
            if not rows:
                return False
            outcomes = await asyncio.gather(*(self._publish(row) for row in rows))
            confirmed = [row.id for row, error in zip(rows, outcomes, strict=True) if error is None]
            if confirmed:
                await db.execute(
                    update(outbox).where(outbox.c.id.in_(confirmed)).values(published_at=func.clock_timestamp())
                )
            for row, error in zip(rows, outcomes, strict=True):
                if isinstance(error, (Unroutable, Unpublishable)):
                    log.error(
                        "message not published", key=row.message_key, attempts=row.attempts + 1, error=describe(error)
                    )
                    later = func.now() + RETRY.delay(row.attempts + 1)
                    await db.execute(
                        update(outbox)
                        .where(outbox.c.id == row.id)
                        .values(attempts=row.attempts + 1, available_at=later, last_error=describe(error))
                    )
        down = [error for error in outcomes if isinstance(error, BrokerDown)]
        if down and not confirmed:
            raise down[0]
        return len(rows) == BATCH

    async def _publish(self, row: Row[tuple[object, ...]]) -> Unroutable | Unpublishable | BrokerDown | None:
        message = OutgoingMessage(
            key=row.message_key,
            exchange=row.exchange,
            routing_key=row.routing_key,
            headers=row.headers,
            body=row.body,
            mandatory=row.mandatory,
        )
        try:
            await self._publisher.publish(message)
        except (Unroutable, Unpublishable, BrokerDown) as error:
            metrics.PUBLISH_FAILURES.labels(type(error).__name__).inc()
            return error
        metrics.PUBLISHED.labels(row.routing_key).inc()
        return None

    async def _run_housekeeping(self, stop: asyncio.Event) -> None:
        """Deletes rows past their retention. Unpublished messages and pending jobs are never deleted."""
        while not stop.is_set():
            try:
                async with self._database.transaction() as db:
                    await db.execute(delete(outbox).where(outbox.c.published_at < func.now() - KEEP_PUBLISHED))
                    await db.execute(delete(inbox).where(inbox.c.received_at < func.now() - KEEP_INBOX))
                    old_key = idempotency_keys.c.created_at < func.now() - KEEP_KEYS
                    await db.execute(delete(idempotency_keys).where(old_key))
                    done = jobs.c.done_at < func.now() - KEEP_PAYLOADS
                    await db.execute(update(jobs).where(done, jobs.c.payload != {}).values(payload={}))
            except Exception as error:
                log.warning("housekeeping failed", error=describe(error))
            for _ in range(600):
                if stop.is_set():
                    return
                await self._measure_backlog()
                await asyncio.sleep(6)

    async def _measure_backlog(self) -> None:
        try:
            async with self._database.transaction() as db:
                due = select(func.count()).where(outbox.c.published_at.is_(None), outbox.c.available_at <= func.now())
                metrics.DUE.labels("outbox").set((await db.execute(due)).scalar_one())
        except Exception as error:
            log.warning("measuring the backlog failed", error=describe(error))
