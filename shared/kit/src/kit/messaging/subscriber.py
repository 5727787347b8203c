"""Runs consumers on FastStream: acknowledge by hand, park what may work later, bury what never will.

FastStream's own policies either lose a message that fails or redeliver it in a hot loop, so the subscriber is MANUAL
and every way out of `_receive` ends in an ack of something that is safe elsewhere, or in a requeue.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import structlog
from aio_pika.exceptions import AMQPError
from faststream.middlewares import AckPolicy
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue
from faststream.rabbit.message import RabbitMessage
from faststream.rabbit.subscriber import RabbitSubscriber

from contracts.envelope import BadEnvelope, Envelope, Event, attributes, parse
from contracts.registry import EVENT_TYPES
from kit.db.database import Database, is_down, lost_a_race
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.messaging import inbox, outbox
from kit.messaging.broker import BrokerDown, Publisher, Unpublishable, Unroutable
from kit.messaging.consumer import Consumer
from kit.messaging.outbox import OutgoingMessage
from kit.messaging.topology import Queue, declare_at
from kit.runtime import metrics
from kit.runtime.backoff import Backoff
from kit.runtime.failures import Permanent, describe, stack
from kit.runtime.trace import cause_of

log = structlog.get_logger(__name__)

ATTEMPT_HEADER = "bursar-attempt"
WATCH_SECONDS = 3.0
_MOST_ATTEMPTS = 10_000


class SubscriberRunner:
    """The consumers of one process, with a watchdog that brings back a consumer that the broker has forgotten."""

    def __init__(
        self,
        *,
        service: str,
        amqp_url: str,
        database: Database,
        publisher: Publisher,
        consumers: Sequence[Consumer],
        backoff: Backoff | None = None,
        graceful_seconds: float = 20.0,
    ) -> None:
        self._service = service
        self._amqp_url = amqp_url
        self._database = database
        self._publisher = publisher
        self._consumers = consumers
        self._backoff = backoff or Backoff()
        self._graceful_seconds = graceful_seconds
        self._stopping = asyncio.Event()
        self._broker: RabbitBroker | None = None
        self._subscribers: list[RabbitSubscriber] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then takes nothing new, finishes what it holds and leaves the rest to the broker."""
        for consumer in self._consumers:
            consumer.handlers()
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                if not self.attached():
                    await self._restart()
                await asyncio.wait((stopping,), timeout=WATCH_SECONDS if self.attached() else 0.5)
        finally:
            self._stopping.set()
            stopping.cancel()
            await self._stop()

    def attached(self) -> bool:
        """Whether the broker delivers to each of our consumers, as far as this side of the connection knows."""
        return bool(self._subscribers) and all(_attached(subscriber) for subscriber in self._subscribers)

    async def check(self) -> None:
        """Raises unless every consumer is attached: for /readyz."""
        if not self.attached():
            raise BrokerDown("a consumer is not attached")

    async def _restart(self) -> None:
        try:
            await self._stop()
            await declare_at(self._amqp_url, [consumer.queue for consumer in self._consumers])
            await self._start()
            log.info("consuming", queues=[consumer.queue.name for consumer in self._consumers])
        except Exception as error:
            log.warning("broker away", error=describe(error), at=stack(error, limit=3))
            await self._stop()

    async def _start(self) -> None:
        broker = RabbitBroker(
            self._amqp_url,
            graceful_timeout=self._graceful_seconds,
            apply_types=False,
            reconnect_interval=0.5,
            logger=None,
            app_id=self._service,
        )
        subscribers = []
        for consumer in self._consumers:
            subscriber = broker.subscriber(
                RabbitQueue(consumer.queue.name, declare=False),
                channel=Channel(prefetch_count=consumer.queue.prefetch),
                ack_policy=AckPolicy.MANUAL,
                decoder=_undecoded,
                no_reply=True,
            )
            subscriber(self._receiver(consumer))
            subscribers.append(subscriber)
        self._broker = broker
        await broker.start()
        self._subscribers = subscribers

    async def _stop(self) -> None:
        broker, self._broker, self._subscribers = self._broker, None, []
        if broker is None:
            return
        try:
            async with asyncio.timeout(self._graceful_seconds + 5):
                await broker.stop()
        except Exception as error:  # FastStream tells several troubles at once as an ExceptionGroup
            log.warning("broker left", error=describe(error))

    def _receiver(self, consumer: Consumer) -> Any:
        async def receive(message: RabbitMessage) -> None:
            await self._receive(consumer, message)

        return receive

    async def _receive(self, consumer: Consumer, message: RabbitMessage) -> None:
        began = time.perf_counter()
        outcome = "requeued"
        try:
            outcome = await self._settle(consumer, message)
            if outcome == "requeued":
                await message.nack(requeue=True)
            elif outcome == "rejected":
                await message.reject(requeue=False)  # to the dead letters, without our words on it
            else:
                await message.ack()
        except (AMQPError, OSError, RuntimeError) as error:
            # the connection is gone: the broker delivers this again, and the inbox knows it
            log.warning("unacknowledged", queue=consumer.queue.name, event_id=_event_id(message), error=describe(error))
        finally:
            kind = _said(message).get("type", "unknown")
            kind = kind if kind in EVENT_TYPES else "unknown"
            metrics.MESSAGES.labels(consumer.queue.name, kind, outcome).inc()
            metrics.HANDLING.labels(consumer.queue.name).observe(time.perf_counter() - began)

    async def _settle(self, consumer: Consumer, message: RabbitMessage) -> str:
        """What became of the message: handled, known, parked, buried or requeued."""
        queue = consumer.queue
        waits = 0
        while True:
            try:
                envelope = parse(message.headers, message.body, EVENT_TYPES)
                return await self._handle(consumer, envelope)
            except Exception as error:
                failed = error
            if lost_a_race(failed):
                continue
            try:
                attempt = _attempt(message) + 1
                permanent = isinstance(failed, (Permanent, BadEnvelope))
                if permanent or (not is_down(failed) and self._backoff.exhausted(attempt)):
                    await self._bury(queue, message, failed, attempt)
                    return "buried"
                await self._park(queue, message, failed, attempt)
                return "parked"
            except Unpublishable as second:
                log.error("buried by the broker", queue=queue.name, error=describe(failed), and_then=describe(second))
                return "rejected"
            except Exception as second:
                # neither can it be kept elsewhere: hold it, let nothing else in, and try from the start
                waits += 1
                log.warning("holding", queue=queue.name, error=describe(failed), and_then=describe(second))
                if await self._stopped_within(min(0.5 * 2**waits, 5.0)):
                    return "requeued"

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _handle(self, consumer: Consumer, envelope: Envelope[Event]) -> str:
        handler = consumer.handlers().get(envelope.type)
        if handler is None:
            raise Permanent(f"{consumer.queue.name} does not hear {envelope.type}")
        with structlog.contextvars.bound_contextvars(
            queue=consumer.queue.name, event_id=envelope.id, correlation=envelope.correlation_id or envelope.id
        ):
            async with self._database.transaction() as db:
                if not await inbox.claim(db, queue=consumer.queue.name, event_id=envelope.id):
                    return "known"
                uow = UnitOfWork(db=db, source=self._service, now=utc_now(), cause=cause_of(envelope))
                await handler(envelope, uow)
        return "handled"

    async def _park(self, queue: Queue, message: RabbitMessage, error: BaseException, attempt: int) -> None:
        """Keeps the message in our own database until it is due again, so that its neighbors flow."""
        delay = self._backoff.delay(attempt)
        log.warning(
            "parked",
            queue=queue.name,
            event_id=_event_id(message),
            attempt=attempt,
            seconds=round(delay.total_seconds(), 1),
            error=describe(error),
            at=stack(error, limit=3),
        )
        parked = OutgoingMessage(
            key=f"parked/{uuid4()}",  # a message may be parked, buried, replayed and parked again
            exchange="",
            routing_key=queue.name,
            body=message.body,
            headers={**_plain(message.headers), ATTEMPT_HEADER: attempt},
            mandatory=True,
        )
        async with self._database.transaction() as db:
            await outbox.put(db, parked, available_at=utc_now() + delay)

    async def _bury(self, queue: Queue, message: RabbitMessage, error: BaseException, attempt: int) -> None:
        """To the dead letters, with what an operator needs to know; counts only when the broker has confirmed."""
        log.error(
            "buried",
            queue=queue.name,
            event_id=_event_id(message),
            attempts=attempt,
            error=describe(error),
            at=stack(error),
        )
        dead = OutgoingMessage(
            key=_event_id(message),
            exchange="",
            routing_key=queue.dead,
            body=message.body,
            headers={
                **_plain(message.headers),
                "bursar-queue": queue.name,
                "bursar-reason": describe(error),
                "bursar-attempts": attempt,
                "bursar-stack": stack(error),
                "bursar-died-at": datetime.now(UTC).isoformat(),
            },
            mandatory=True,
        )
        try:
            await self._publisher.publish(dead)
        except Unroutable:
            await declare_at(self._amqp_url, [queue])
            await self._publisher.publish(dead)


def _attached(subscriber: RabbitSubscriber) -> bool:
    # FastStream and aio-pika both restore consumers, and both can end up with a live connection and no consumer;
    # only the lowest layer's table of consumers tells what the broker believes.
    queue, tag = subscriber._queue_obj, subscriber._consumer_tag
    if queue is None or tag is None:
        return False
    channel = queue.channel
    underlay = getattr(channel, "_channel", None)
    transport = getattr(underlay, "channel", underlay)
    return transport is not None and not transport.is_closed and tag in transport.consumers


async def _undecoded(message: RabbitMessage) -> RabbitMessage:
    return message


def _said(message: RabbitMessage) -> dict[str, str]:
    try:
        return attributes(message.headers)
    except BadEnvelope:
        return {}


def _event_id(message: RabbitMessage) -> str:
    return _said(message).get("id") or message.message_id or "unknown"


def _attempt(message: RabbitMessage) -> int:
    """Our own count; whatever else stands there is none."""
    value = message.headers.get(ATTEMPT_HEADER, 0)
    return value if isinstance(value, int) and 0 <= value <= _MOST_ATTEMPTS else 0


def _plain(headers: dict[str, Any]) -> dict[str, Any]:
    """The headers that are ours; the broker adds its own (x-death, x-delivery-count) anew."""
    return {name: value for name, value in headers.items() if not name.startswith("x-") and _can_be_kept(value)}


def _can_be_kept(value: object) -> bool:
    return isinstance(value, int) or (isinstance(value, str) and "\x00" not in value)
