"""Runs the subscribers of one process, and attaches them again when the broker no longer delivers to one of them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence

import structlog
from aio_pika.abc import AbstractQueue, AbstractRobustConnection
from aio_pika.exceptions import AMQPError
from faststream.rabbit import Channel, RabbitBroker, RabbitRouter

from kit.db.database import Database
from kit.messaging.broker import BrokerDown, Publisher
from kit.messaging.delivered import decode_everything
from kit.messaging.failed_messages import FailedMessages, Schedules
from kit.messaging.middleware import DeliveryMiddleware
from kit.messaging.publishers import Publishers
from kit.messaging.subscriber import check_handlers, filters, subscribers_of
from kit.messaging.topology import Queue, check_declared
from kit.runtime.failures import describe, stack
from kit.runtime.outages import Outage

log = structlog.get_logger(__name__)

WATCH_SECONDS = 3.0
LOSSES = 3
"""After so many lost connections, each within CALM_SECONDS of the one before, one message at a time is taken in: each
loss counts as a delivery of everything that was prefetched, and a message that causes it must not drag its neighbors
to their redelivery limit."""
CALM_SECONDS = 60.0


class SubscriberRunner:
    """A FastStream broker with the process's routers and the delivery middleware, watched."""

    def __init__(
        self,
        *,
        service: str,
        amqp_url: str,
        database: Database,
        publisher: Publisher,
        queues: Sequence[Queue],
        routers: Sequence[RabbitRouter],
        schedules: Schedules | None = None,
        graceful_seconds: float = 20.0,
        operator: str = "deployment",
        accept_unsigned: bool = False,
    ) -> None:
        """`operator`, `accept_unsigned`: see `Publishers`.

        Raises ValueError if an event that is bound to one of the queues has no handler.
        """
        check_handlers(routers, queues)
        decode_everything()
        self._service = service
        self._amqp_url = amqp_url
        self._queues = queues
        self._routers = routers
        self._graceful_seconds = graceful_seconds
        publishers = Publishers(
            amqp_url=amqp_url, database=database, operator=operator, accept_unsigned=accept_unsigned
        )
        self._middleware = DeliveryMiddleware(
            service=service,
            queues={queue.name: queue for queue in queues},
            filters={each.queue.name: filters(each) for each in subscribers_of(routers)},
            database=database,
            failed_messages=FailedMessages(publishers, database, publisher, schedules),
            publishers=publishers,
        )
        self._broker: RabbitBroker | None = None
        self._connection: AbstractRobustConnection | None = None
        self._consumed: list[AbstractQueue] = []
        self._lost: object = None
        """The last transport of the connection that was lost."""
        self._losses = 0
        self._lost_at = 0.0
        self._one_by_one = False
        self._outage = Outage("broker connection")

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. Then takes no new messages, finishes those in progress and leaves the rest queued."""
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                attached = await self.attached()
                if not attached or self._one_by_one != self._losing():
                    attached = await self._attach()
                await asyncio.wait((stopping,), timeout=WATCH_SECONDS if attached else 0.5)
        finally:
            self._middleware.stop()
            stopping.cancel()
            await self._detach()

    async def attached(self) -> bool:
        """Whether the broker delivers to all of our subscribers, as far as this side of the connection knows."""
        return bool(self._consumed) and all([await _is_consumed(queue) for queue in self._consumed])

    async def check(self) -> None:
        """Raises unless all subscribers are attached: for /readyz."""
        if not await self.attached():
            raise BrokerDown("a subscriber is not attached")

    def _losing(self) -> bool:
        """Whether the connection is lost again and again."""
        return self._losses >= LOSSES and time.monotonic() - self._lost_at < CALM_SECONDS

    def _connection_lost(self, *_: object) -> None:
        """aio-pika also calls this for each attempt to connect that fails: then there is no transport."""
        if self._connection is None:  # closed by `_detach`
            return
        transport = self._connection.transport
        if transport is None or transport is self._lost:
            return
        now = time.monotonic()
        self._losses = self._losses + 1 if now - self._lost_at < CALM_SECONDS else 1
        self._lost, self._lost_at = transport, now

    async def _attach(self) -> bool:
        try:
            await self._detach()
            if self._one_by_one != self._losing():
                self._one_by_one = not self._one_by_one
                log.error("connection lost repeatedly" if self._one_by_one else "connection is stable again")
            await check_declared(self._amqp_url, self._queues)
            await self._start()
        except Exception as error:
            self._outage.failed(error, at=stack(error, limit=3))
            await self._detach()
            return False
        self._outage.ended()
        log.info("subscribers attached", queues=[queue.name for queue in self._queues])
        return True

    async def _start(self) -> None:
        self._broker = broker = RabbitBroker(
            self._amqp_url,
            routers=self._routers,
            middlewares=[self._middleware],
            graceful_timeout=self._graceful_seconds,
            reconnect_interval=0.5,
            apply_types=False,  # no injection: FastDepends would run it in a thread, once per argument and message
            serializer=None,
            logger=None,  # the kit logs with structlog
            app_id=self._service,
        )
        prefetch = {queue.name: 1 if self._one_by_one else queue.prefetch for queue in self._queues}
        for subscriber in subscribers_of(self._routers):
            subscriber.channel = Channel(prefetch_count=prefetch[subscriber.queue.name])
        self._connection = await broker.connect()
        self._connection.close_callbacks.add(self._connection_lost)
        await broker.start()
        # what `start` has declared: FastStream declares each queue once
        self._consumed = [await broker.declare_queue(subscriber.queue) for subscriber in subscribers_of(self._routers)]

    async def _detach(self) -> None:
        broker, connection = self._broker, self._connection
        self._broker, self._connection, self._consumed = None, None, []
        try:
            async with asyncio.timeout(self._graceful_seconds + 5):
                if broker is not None:
                    await broker.stop()
        except Exception as error:  # FastStream raises several errors at once as an ExceptionGroup
            log.warning("broker shutdown failed", error=describe(error))
            if connection is not None:
                # left open, it would reconnect and restore consumers whose messages nobody handles
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(5):
                        await connection.close()


async def _is_consumed(queue: AbstractQueue) -> bool:
    """Whether the queue has a consumer on its channel (each subscriber has a channel of its own).

    FastStream and aio-pika both restore consumers, and both can end up with a live connection and no consumer. Neither
    has a public call that says so, and a passive declaration also counts the consumers of other processes. What remains
    is the table that aiormq, below them, keeps from the broker's answers. It is public, but not part of aiormq's `abc`.
    """
    if queue.channel.is_closed:
        return False
    try:
        async with asyncio.timeout(0.1):  # it waits while the connection is being restored
            channel = await queue.channel.get_underlay_channel()
    except (TimeoutError, AMQPError, RuntimeError):
        return False
    return not channel.is_closed and bool(getattr(channel, "consumers", None))
