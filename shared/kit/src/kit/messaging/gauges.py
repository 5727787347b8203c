"""What operators watch: depths of queues, rows that are due, jobs, pools. Each metric exists from the start, at zero.

One task per process measures, with queries that an index answers and that count no further than MOST.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

import aio_pika
import structlog
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity
from sqlalchemy import text
from sqlalchemy.pool import QueuePool

from contracts.envelope import Event
from kit.db.database import Database
from kit.messaging.broker import BrokerDown, Unroutable
from kit.messaging.outbox import EVENTS_EXCHANGE
from kit.messaging.topology import Queue
from kit.runtime import metrics
from kit.runtime.failures import Transient
from kit.runtime.sweeps import repeat

log = structlog.get_logger(__name__)

MEASURE_SECONDS = 6.0
MOST = 100_000
"""Gauges of rows count no further: this means as many or more."""
BACKLOG = text(
    f"""
    SELECT
        (SELECT coalesce(extract(epoch FROM now() - min(available_at)), 0)
            FROM outbox_due WHERE available_at <= now()) AS oldest,
        (SELECT count(*) FROM (SELECT FROM outbox_due WHERE available_at <= now()
            ORDER BY available_at LIMIT {MOST}) AS outbox) AS outbox,
        (SELECT count(*) FROM (SELECT FROM jobs WHERE done_at IS NULL AND failed_at IS NULL
            AND available_at <= now() ORDER BY available_at LIMIT {MOST}) AS due) AS due,
        (SELECT count(*) FROM (SELECT FROM jobs WHERE done_at IS NULL AND failed_at IS NULL
            AND available_at > now() ORDER BY available_at LIMIT {MOST}) AS waiting) AS waiting,
        (SELECT count(*) FROM (SELECT FROM jobs WHERE failed_at IS NOT NULL
            ORDER BY failed_at LIMIT {MOST}) AS failed) AS failed
    """  # noqa: S608  # a number
)


class Backlog:
    """The rows of the kit's tables that are not done."""

    def __init__(self, database: Database, kinds: Iterable[str], publishes: Sequence[type[Event]]) -> None:
        self._database = database
        for event in publishes:
            metrics.PUBLISHED.labels(event.type)
        for reason in (Unroutable, BrokerDown):
            metrics.PUBLISH_FAILURES.labels(reason.__name__)
        for kind in kinds:
            for outcome in ("done", "rescheduled", "failed"):
                metrics.JOBS.labels(kind, outcome)
        metrics.DUE.labels("outbox")
        metrics.OLDEST_DUE.labels("outbox")
        for state in ("due", "waiting", "failed"):
            metrics.JOB_ROWS.labels(state)

    async def run(self, stop: asyncio.Event) -> None:
        await repeat(self.measure, stop, name="backlog", seconds=MEASURE_SECONDS)

    async def measure(self) -> bool:
        async with self._database.transaction() as db:
            row = (await db.execute(BACKLOG)).one()
        metrics.DUE.labels("outbox").set(row.outbox)
        metrics.OLDEST_DUE.labels("outbox").set(float(row.oldest))
        for state in ("due", "waiting", "failed"):
            metrics.JOB_ROWS.labels(state).set(getattr(row, state))
        return False


class QueueDepths:
    """The messages that wait in queues and their dead-letter queues, and whether queues and exchanges exist."""

    def __init__(self, amqp_url: str, queues: Sequence[Queue]) -> None:
        self._amqp_url = amqp_url
        self._queues = queues
        self._connection: AbstractConnection | None = None
        self._missing: list[str] = []
        for queue in queues:
            for name in (queue.name, queue.dead):
                metrics.QUEUE_MESSAGES.labels(name)

    async def run(self, stop: asyncio.Event) -> None:
        try:
            await repeat(self.measure, stop, name="queue depths", seconds=MEASURE_SECONDS)
        finally:
            if self._connection is not None:
                await self._connection.close()

    async def measure(self) -> bool:
        """By passive declarations, for which no login needs a right."""
        connection = self._connection
        if connection is None or not connection.connected.is_set():  # `is_closed`: only by us
            self._connection = connection = await aio_pika.connect(self._amqp_url, timeout=10)
        exchanges = {EVENTS_EXCHANGE, *(queue.exchange for queue in self._queues)}
        missing = [name for name in sorted(exchanges) if not await _exists(connection, name)]
        for queue in self._queues:
            for name in (queue.name, queue.dead):
                depth = await _depth(connection, name)
                if depth is None:
                    missing.append(name)
                metrics.QUEUE_MESSAGES.labels(name).set(depth or 0)
        if missing and missing != self._missing:
            log.error("not declared: run migrate for every service", missing=missing)
        self._missing = missing
        return False

    async def check(self) -> None:
        """Raises if an exchange or a queue was missing when it was last looked for: for /readyz.

        Bindings cannot be read by AMQP. Those of a deleted exchange are gone with it: `migrate` of every service that
        consumes declares them again.
        """
        if self._missing:
            raise Transient(f"not declared: {', '.join(self._missing)}")


async def _exists(connection: AbstractConnection, exchange: str) -> bool:
    async with connection.channel() as channel:
        try:
            await channel.get_exchange(exchange)
        except ChannelNotFoundEntity:
            return False
    return True


async def _depth(connection: AbstractConnection, queue: str) -> int | None:
    """None: it does not exist."""
    async with connection.channel() as channel:
        try:
            return (await channel.get_queue(queue)).declaration_result.message_count or 0
        except ChannelNotFoundEntity:
            return None


def watch_pools(name: str, database: Database) -> None:
    """Adds the pools of this database; they are read whenever the metrics are."""
    for login, engine in database.engines.items():
        pool = engine.pool
        if isinstance(pool, QueuePool):
            for state, count in (("size", pool.size), ("in use", pool.checkedout)):
                _follow(f"{name}.{login}" if login else name, state, count)


def _follow(pool: str, state: str, count: Callable[[], int]) -> None:
    metrics.POOL.labels(pool, state).set_function(lambda: float(count()))
