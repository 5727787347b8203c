"""Publishes what the journal holds, and brings what was spilled into it.

A row is marked only after the broker has confirmed everything that it means; until then it stays due.
"""

from __future__ import annotations

import asyncio
import contextlib

import aio_pika
import structlog
from aio_pika.exceptions import AMQPError, QueueEmpty
from sqlalchemy import Row, func, select, update

from kit.db.database import Database
from kit.http.errors import Problem
from kit.messaging.broker import BrokerDown, Publisher, Unpublishable, Unroutable
from kit.messaging.outbox import to_message
from kit.messaging.relay import RETRY, SWEEP_SECONDS, keep_publishing
from kit.messaging.topology import declare_at
from kit.runtime import metrics
from kit.runtime.failures import describe
from webhook_gateway.event import decode, read
from webhook_gateway.journal import Journal, JournalDown
from webhook_gateway.tables import journal
from webhook_gateway.topology import SPILL
from webhook_gateway.translate import translate

log = structlog.get_logger(__name__)

BATCH = 100
MEASURE_SECONDS = 6.0


class JournalRelay:
    """Any number may run beside each other."""

    def __init__(self, database: Database, publisher: Publisher) -> None:
        self._database = database
        self._publisher = publisher

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; outlives a broker or a database that goes away."""
        await keep_publishing(self.publish_due, self._database.url, stop)

    async def publish_due(self) -> bool:
        """Publishes one batch; whether there may be more. Raises BrokerDown when none of it could be published."""
        async with self._database.transaction() as db:
            due = (
                select(journal)
                .where(journal.c.published_at.is_(None), journal.c.available_at <= func.now())
                .order_by(journal.c.available_at)
                .limit(BATCH)
                .with_for_update(skip_locked=True)
            )
            rows = (await db.execute(due)).all()
            outcomes = await asyncio.gather(*(self._publish(row) for row in rows))
            down: BrokerDown | None = None
            published = 0
            for row, outcome in zip(rows, outcomes, strict=True):
                this = update(journal).where(journal.c.event_id == row.event_id)
                if isinstance(outcome, int):
                    published += 1
                    await db.execute(this.values(published_at=func.clock_timestamp(), said=outcome))
                elif isinstance(outcome, (Unroutable, Unpublishable)):
                    later = func.now() + RETRY.delay(row.attempts + 1)
                    await db.execute(this.values(attempts=row.attempts + 1, available_at=later))
                    log.error(
                        "not published", event_id=row.event_id, attempts=row.attempts + 1, error=describe(outcome)
                    )
                else:
                    down = outcome
        if down is not None and not published:
            raise down
        return len(rows) == BATCH

    async def _publish(self, row: Row[tuple[object, ...]]) -> int | Unroutable | Unpublishable | BrokerDown:
        """How many events of ours it meant, all of them confirmed; or why not."""
        events = translate(decode(row.body), received_at=row.received_at)
        try:
            for event in events:
                await self._publisher.publish(to_message(event, mandatory=True))
        except (Unroutable, Unpublishable, BrokerDown) as error:
            metrics.PUBLISH_FAILURES.labels(type(error).__name__).inc()
            return error
        for event in events:
            metrics.PUBLISHED.labels(event.type).inc()
        return len(events)

    async def measure(self, stop: asyncio.Event) -> None:
        """Keeps `bursar_due{table="journal"}` current: the first number to look at when enrollments do not come."""
        while not stop.is_set():
            try:
                async with self._database.transaction() as db:
                    due = select(func.count()).where(journal.c.published_at.is_(None))
                    metrics.DUE.labels("journal").set((await db.execute(due)).scalar_one())
            except Exception as error:
                log.warning("backlog unknown", error=describe(error))
            await _pause(stop, MEASURE_SECONDS)


class SpillDrain:
    """Brings what was stored in the broker while the database was away into the journal."""

    def __init__(self, amqp_url: str, journal: Journal) -> None:
        self._amqp_url = amqp_url
        self._journal = journal

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self._drain(stop)
            except (AMQPError, OSError, TimeoutError, RuntimeError, JournalDown) as error:
                log.warning("spill waits", error=describe(error))
                await _pause(stop, 2.0)

    async def _drain(self, stop: asyncio.Event) -> None:
        await declare_at(self._amqp_url, [SPILL])
        connection = await aio_pika.connect(self._amqp_url, timeout=10)
        async with connection:
            channel = await connection.channel()
            queue = await channel.get_queue(SPILL.name, ensure=False)
            while not stop.is_set():
                await self._journal.ping()  # what is taken while the journal is away would only be put back
                try:
                    message = await queue.get(timeout=5)
                except QueueEmpty:
                    await _pause(stop, SWEEP_SECONDS)
                    continue
                try:
                    await self._journal.write(read(message.body))
                except Problem as error:  # nobody but us writes there; keep it for a human
                    log.error("spilled message is no event", error=error.code)
                    await message.reject(requeue=False)
                    continue
                await message.ack()


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
