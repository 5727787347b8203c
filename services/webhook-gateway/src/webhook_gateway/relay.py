"""Publishes the journal, and copies spilled events into it.

A row is marked as published only after the broker has confirmed every event that it translates to.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import datetime

import aio_pika
import structlog
from aio_pika.exceptions import AMQPError, QueueEmpty
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kit.db.database import Database
from kit.http.errors import Problem
from kit.messaging.broker import BrokerDown, Publisher, Unpublishable, Unroutable
from kit.messaging.outbox import to_message
from kit.messaging.relay import RETRY, SWEEP_SECONDS, keep_publishing
from kit.messaging.topology import declare_at
from kit.runtime import metrics
from kit.runtime.failures import describe
from webhook_gateway.event import decode, parse_event
from webhook_gateway.journal import EventConflict, Journal, JournalDown
from webhook_gateway.tables import journal
from webhook_gateway.topology import SPILL
from webhook_gateway.translate import translate

log = structlog.get_logger(__name__)

BATCH = 100
MEASURE_SECONDS = 6.0
SPILL_RETRY_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class DueEvent:
    """A journaled event that is not published yet."""

    event_id: str
    body: bytes
    received_at: datetime
    attempts: int


class JournalRelay:
    """Publishes due journal rows. Several can run side by side: each takes rows that no other one has locked."""

    def __init__(self, database: Database, publisher: Publisher) -> None:
        self._database = database
        self._publisher = publisher

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop` is set, through outages of the broker and the database."""
        await keep_publishing(self.publish_due, self._database.url, stop)

    async def publish_due(self) -> bool:
        """Publishes one batch. Returns whether more may be due. Raises BrokerDown if nothing could be published."""
        async with self._database.transaction() as db:
            due = await _lock_due(db)
            outcomes = await asyncio.gather(*(self._publish(event) for event in due))
            broker_down: BrokerDown | None = None
            published = 0
            for event, outcome in zip(due, outcomes, strict=True):
                row = update(journal).where(journal.c.event_id == event.event_id)
                if isinstance(outcome, int):
                    published += 1
                    await db.execute(row.values(published_at=func.clock_timestamp(), event_count=outcome))
                elif isinstance(outcome, (Unroutable, Unpublishable)):
                    attempts = event.attempts + 1
                    log.error("publish failed", event_id=event.event_id, attempts=attempts, error=describe(outcome))
                    retry_at = func.now() + RETRY.delay(attempts)
                    await db.execute(row.values(attempts=attempts, available_at=retry_at))
                else:
                    broker_down = outcome
        if broker_down is not None and not published:
            raise broker_down
        return len(due) == BATCH

    async def _publish(self, event: DueEvent) -> int | Unroutable | Unpublishable | BrokerDown:
        """Returns how many events were published and confirmed, or the error."""
        envelopes = translate(decode(event.body), received_at=event.received_at)
        try:
            for envelope in envelopes:
                await self._publisher.publish(to_message(envelope, mandatory=True))
        except (Unroutable, Unpublishable, BrokerDown) as error:
            metrics.PUBLISH_FAILURES.labels(type(error).__name__).inc()
            return error
        for envelope in envelopes:
            metrics.PUBLISHED.labels(envelope.type).inc()
        return len(envelopes)

    async def measure(self, stop: asyncio.Event) -> None:
        """Keeps `bursar_due{table="journal"}` current: the first metric to check when enrollments do not appear."""
        while not stop.is_set():
            try:
                async with self._database.transaction() as db:
                    due = select(func.count()).where(journal.c.published_at.is_(None))
                    metrics.DUE.labels("journal").set((await db.execute(due)).scalar_one())
            except Exception as error:
                log.warning("backlog measurement failed", error=describe(error))
            await _pause(stop, MEASURE_SECONDS)


async def _lock_due(db: AsyncConnection) -> list[DueEvent]:
    due = (
        select(journal.c.event_id, journal.c.body, journal.c.received_at, journal.c.attempts)
        .where(journal.c.published_at.is_(None), journal.c.available_at <= func.now())
        .order_by(journal.c.available_at)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    return [
        DueEvent(event_id=row.event_id, body=row.body, received_at=row.received_at, attempts=row.attempts)
        for row in await db.execute(due)
    ]


class SpillDrain:
    """Copies events that were stored in the broker, while the database was down, into the journal."""

    def __init__(self, amqp_url: str, journal: Journal) -> None:
        self._amqp_url = amqp_url
        self._journal = journal

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self._drain(stop)
            except (AMQPError, OSError, TimeoutError, RuntimeError, JournalDown) as error:
                log.warning("spill drain interrupted", error=describe(error))
                await _pause(stop, SPILL_RETRY_SECONDS)

    async def _drain(self, stop: asyncio.Event) -> None:
        await declare_at(self._amqp_url, [SPILL])
        connection = await aio_pika.connect(self._amqp_url, timeout=10)
        async with connection:
            channel = await connection.channel()
            queue = await channel.get_queue(SPILL.name, ensure=False)
            while not stop.is_set():
                await self._journal.ping()  # while the journal is down, a message would only be returned to the queue
                try:
                    message = await queue.get(timeout=5)
                except QueueEmpty:
                    await _pause(stop, SWEEP_SECONDS)
                    continue
                try:
                    await self._journal.write(parse_event(message.body))
                except Problem as error:  # only the gateway writes to this queue: dead-letter it for an operator
                    log.error("spilled message is not an event", error=error.code)
                    await message.reject(requeue=False)
                    continue
                except EventConflict:
                    await message.reject(requeue=False)
                    continue
                await message.ack()


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
