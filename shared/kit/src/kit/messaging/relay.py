"""The relay: publishes the outbox, pipelined. A message is due until the broker has confirmed it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog
from sqlalchemy import Row, text
from sqlalchemy.dialects.postgresql import JSONB

from kit.db.database import Database, is_down
from kit.messaging.broker import BrokerDown, Publisher
from kit.messaging.outbox import CHANNEL, OutgoingMessage
from kit.messaging.wakeup import Wakeup
from kit.runtime import metrics
from kit.runtime.backoff import Backoff
from kit.runtime.failures import Permanent, describe
from kit.runtime.outages import Outage

log = structlog.get_logger(__name__)

BATCH = 200
RETRY = Backoff(first=timedelta(seconds=0.5), longest=timedelta(minutes=1))
"""Of one message."""
RETRY_BATCH = Backoff(first=timedelta(seconds=0.5), longest=timedelta(seconds=5))
RETRY_OUTAGE = Backoff(first=timedelta(seconds=0.25), longest=timedelta(seconds=0.5))
"""While broker or database are down: what becomes due meanwhile waits no longer than they need."""

_DUE = text(
    """
    WITH due AS MATERIALIZED (
        SELECT id, month, attempts, available_at FROM outbox_due WHERE available_at <= now()
        ORDER BY available_at, id LIMIT :batch FOR UPDATE SKIP LOCKED
    )
    SELECT due.id, due.attempts, message_key, exchange, routing_key, headers, body, mandatory
    FROM due LEFT JOIN outbox_messages AS message ON message.id = due.id AND message.month = due.month
    ORDER BY due.available_at, due.id
    """
).columns(headers=JSONB)
_PUBLISHED = text("DELETE FROM outbox_due WHERE id = ANY (CAST(:ids AS bigint[]))")
_PUT_OFF = text(
    """
    UPDATE outbox_due
    SET attempts = attempts + 1, available_at = clock_timestamp() + make_interval(secs => failed.delay),
        last_error = failed.error
    FROM unnest(CAST(:ids AS bigint[]), CAST(:delays AS float8[]), CAST(:errors AS text[])) AS failed (id, delay, error)
    WHERE outbox_due.id = failed.id
    """
)


async def keep_publishing(
    publish_due: Callable[[], Awaitable[int]], database_url: str, stop: asyncio.Event, *, channel: str, batch: int
) -> None:
    """Calls `publish_due` whenever rows may be due, until `stop` is set.

    `publish_due` handles at most `batch` rows and returns how many it has found. If it raises, it is called again after
    a backoff. While a batch is full, a second one is under way: one is read while the other is confirmed.
    """
    outage = Outage("publishing")
    beside = asyncio.create_task(asyncio.sleep(0))

    async def publish_backlog() -> None:
        with contextlib.suppress(Exception):  # the loop meets it too, and waits
            while not stop.is_set() and await publish_due() == batch:
                pass

    async with Wakeup(database_url, channel, stop) as wakeup:
        while not stop.is_set():
            try:
                found = await publish_due()
                outage.ended()
                if found < batch:
                    await wakeup.wait(found=found > 0)
                elif beside.done():
                    beside = asyncio.create_task(publish_backlog())
            except Exception as error:
                away = isinstance(error, BrokerDown) or is_down(error)
                outage.failed(error, exc_info=not away)
                await wakeup.back_off((RETRY_OUTAGE if away else RETRY_BATCH).delay(outage.failures).total_seconds())
    await beside


class Relay:
    """Several may run concurrently: each takes rows that no other one has locked."""

    def __init__(self, database: Database, publisher: Publisher) -> None:
        self._database = database
        self._publisher = publisher

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. Survives outages of broker and database without losing a message."""
        await keep_publishing(self.publish_due, self._database.url, stop, channel=CHANNEL, batch=BATCH)

    async def publish_due(self) -> int:
        """Publishes one batch. Returns how many rows were due. Raises BrokerDown if none could be published.

        A message that raises any error is put off by a backoff, and the others are published.
        """
        async with self._database.transaction() as db:
            rows = (await db.execute(_DUE, {"batch": BATCH})).all()
            outcomes = await asyncio.gather(*(self._publish(row) for row in rows), return_exceptions=True)
            published = [row.id for row, error in zip(rows, outcomes, strict=True) if error is None]
            if published:
                await db.execute(_PUBLISHED, {"ids": published})
            failed = [
                (row, error)
                for row, error in zip(rows, outcomes, strict=True)
                if isinstance(error, Exception) and not isinstance(error, BrokerDown)
            ]
            if failed:
                for row, error in failed:
                    log.error(
                        "message not published", key=row.message_key, attempts=row.attempts + 1, error=describe(error)
                    )
                await db.execute(
                    _PUT_OFF,
                    {
                        "ids": [row.id for row, _ in failed],
                        "delays": [RETRY.delay(row.attempts + 1).total_seconds() for row, _ in failed],
                        "errors": [describe(error) for _, error in failed],
                    },
                )
        down = [error for error in outcomes if isinstance(error, BrokerDown)]
        if down and not published:
            raise down[0]
        return len(rows)

    async def _publish(self, row: Row[tuple[object, ...]]) -> None:
        try:
            if row.message_key is None:
                raise Permanent("the message is gone")
            message = OutgoingMessage(
                key=row.message_key,
                exchange=row.exchange,
                routing_key=row.routing_key,
                headers=row.headers,
                body=row.body,
                mandatory=row.mandatory,
            )
            await self._publisher.publish(message)
        except Exception as error:
            metrics.PUBLISH_FAILURES.labels(type(error).__name__).inc()
            raise
        metrics.PUBLISHED.labels(row.routing_key).inc()
