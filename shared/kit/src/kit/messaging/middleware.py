"""FastStream middleware around each handler: inbox, transaction, retry, dead letters and acknowledgment.

FastStream's acknowledgment policies either lose a message that fails or redeliver it in a hot loop. So the subscribers
are MANUAL, and every exit from here is an ack of a message that is safe elsewhere, or a requeue.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from types import TracebackType
from typing import Any, cast

import structlog
from aio_pika import IncomingMessage
from aio_pika.exceptions import AMQPError
from faststream import BaseMiddleware, ContextRepo, PublishCommand
from faststream.exceptions import SubscriberNotFound
from faststream.message import StreamMessage

from contracts.envelope import Envelope, Event, UnknownEvent, UnrecognizedType, parse, read
from contracts.registry import EVENT_TYPES
from kit.db.database import Database, lost_a_race
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.acknowledgments import Acknowledgments
from kit.messaging.batches import ALONE, Batches, Stopping
from kit.messaging.broker import Unpublishable
from kit.messaging.delivered import why_unreadable
from kit.messaging.failed_messages import FailedMessages, cloud_event_attributes, event_id, is_permanent
from kit.messaging.publishers import Publishers
from kit.messaging.subscriber import EventFilter, EventMessage
from kit.messaging.topology import Queue
from kit.runtime import metrics
from kit.runtime.failures import describe

log = structlog.get_logger(__name__)


class Outcome(StrEnum):
    HANDLED = "handled"
    DUPLICATE = "duplicate"
    RESCHEDULED = "rescheduled"
    DEAD_LETTERED = "dead_lettered"
    REJECTED = "rejected"
    """Dead-lettered by the broker, without our headers: this message cannot be published again."""
    REQUEUED = "requeued"


HELD_ATTEMPTS = 5
"""How often a dead letter is published before the broker is asked to dead-letter the message itself."""

Attempt = Callable[[], Awaitable[Outcome]]


class DeliveryMiddleware:
    """The middleware of one process. FastStream calls it once per message, as it does with a middleware class."""

    def __init__(
        self,
        *,
        service: str,
        queues: Mapping[str, Queue],
        filters: Mapping[str, Mapping[str, EventFilter]],
        database: Database,
        failed_messages: FailedMessages,
        publishers: Publishers,
    ) -> None:
        """`filters`: queue -> event type -> the filter of its handler."""
        self.service = service
        self.queues = queues
        self.filters = filters
        self.failed_messages = failed_messages
        self.publishers = publishers
        self.acknowledgments = Acknowledgments()
        alone = asyncio.Semaphore(ALONE)
        self.batches = {name: Batches(database, queue=name, service=service, alone=alone) for name in queues}
        self._stopping = asyncio.Event()
        for queue in queues.values():
            metrics.HANDLING.labels(queue.name)
            metrics.UNRECOGNIZED.labels(queue.name)
            for type_ in ("unknown", *(event.type for event in queue.events)):
                for outcome in Outcome:
                    metrics.MESSAGES.labels(queue.name, type_, outcome)

    def __call__(self, message: Any, /, *, context: ContextRepo) -> Delivery:
        return Delivery(self, message, context=context)

    def stop(self) -> None:
        """Gives back the messages that wait for their turn, or are held back (see `Delivery`)."""
        self._stopping.set()
        for batches in self.batches.values():
            batches.stop()

    async def stopped_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True


class Delivery(BaseMiddleware[PublishCommand, Any]):
    """One message, from delivery to acknowledgment."""

    def __init__(self, process: DeliveryMiddleware, message: IncomingMessage, *, context: ContextRepo) -> None:
        super().__init__(message, context=context)
        self._message = message
        self._process = process
        self._queue = process.queues[context.get_local("handler_").queue.name]

    async def consume_scope(
        self, call_next: Callable[[StreamMessage[Any]], Awaitable[Any]], msg: StreamMessage[Any]
    ) -> None:
        """Around the handler, which FastStream has found by its filter."""
        found = cast(EventMessage, msg).attributes  # see `subscriber`

        async def call_handler(event: Envelope[Event], uow: UnitOfWork) -> None:
            async def arguments(_: StreamMessage[Any]) -> tuple[Envelope[Event], UnitOfWork]:
                return event, uow

            msg.set_decoder(arguments)  # FastStream calls a handler of two parameters with the two that are decoded
            await call_next(msg)

        async def attempt() -> Outcome:
            event = read(found, msg.body, EVENT_TYPES, unknown=self._queue.all_types)
            queue, correlation = self._queue.name, event.correlation_id or event.id
            await self._process.publishers.check(queue, self._message, event)
            structlog.contextvars.bind_contextvars(queue=queue, event_id=event.id, correlation=correlation)
            known = event.type if event.type in EVENT_TYPES else UnknownEvent.type
            filter = self._process.filters[queue][known]
            is_new = await self._process.batches[queue].process(event, call_handler, filter)
            return Outcome.HANDLED if is_new else Outcome.DUPLICATE

        await self._complete(attempt, found["type"])

    async def after_processed(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> bool:
        """Also gets the messages for which FastStream has found no handler; those never reach `consume_scope`."""
        if not isinstance(exc_val, Exception):
            return False
        failed = exc_val

        async def attempt() -> Outcome:
            if isinstance(failed, SubscriberNotFound):
                event = parse(self._message.headers, self._message.body, EVENT_TYPES)
                await self._process.publishers.check(self._queue.name, self._message, event)
                raise UnrecognizedType(f"{self._queue.name} has no handler for {event.type}")
            raise failed

        await self._complete(attempt, cloud_event_attributes(self._message).get("type", "unknown"))
        return True

    async def _complete(self, attempt: Attempt, type_: str) -> None:
        started = time.perf_counter()
        outcome = Outcome.REQUEUED
        try:
            outcome = await self._outcome_of(attempt)
            if outcome is Outcome.REQUEUED:
                await self._process.acknowledgments.nack(self._message, requeue=True)
            elif outcome is Outcome.REJECTED:
                await self._process.acknowledgments.nack(self._message, requeue=False)
            else:
                await self._process.acknowledgments.ack(self._message)
        except (AMQPError, OSError, RuntimeError) as error:
            # the connection is lost: the broker delivers this message again, and the inbox recognizes it
            log.warning(
                "message not acknowledged",
                queue=self._queue.name,
                event_id=event_id(self._message),
                error=describe(error),
            )
        finally:
            type_ = type_ if type_ in EVENT_TYPES else "unknown"
            metrics.MESSAGES.labels(self._queue.name, type_, outcome).inc()
            metrics.HANDLING.labels(self._queue.name).observe(time.perf_counter() - started)

    async def _outcome_of(self, attempt: Attempt) -> Outcome:
        """Tries until the message is processed, kept elsewhere, or given back to the broker."""
        if reason := why_unreadable(self._message):
            # published again, it would lose what we cannot read
            log.error(
                "message dead-lettered by the broker",
                queue=self._queue.name,
                event_id=event_id(self._message),
                error=reason,
            )
            return Outcome.REJECTED
        held = 0
        while True:
            try:
                return await attempt()
            except Stopping:
                return Outcome.REQUEUED
            except Exception as error:
                failed = error
            if lost_a_race(failed):
                continue
            try:
                dead_lettered = await self._process.failed_messages.keep(self._queue, self._message, failed)
                return Outcome.DEAD_LETTERED if dead_lettered else Outcome.RESCHEDULED
            except Unpublishable as second:
                log.error(
                    "message dead-lettered by the broker",
                    queue=self._queue.name,
                    error=describe(failed),
                    cannot_publish=describe(second),
                )
                return Outcome.REJECTED
            except Exception as second:
                # neither database nor broker can take it: hold it, so that no other message is taken in, and retry
                held += 1
                log.warning(
                    "message held: cannot reschedule or dead-letter",
                    queue=self._queue.name,
                    error=describe(failed),
                    cannot_keep=describe(second),
                )
                if is_permanent(failed) and held >= HELD_ATTEMPTS:
                    return Outcome.REJECTED  # the dead-letter queue gets it without the reason, which the log has
                if await self._process.stopped_within(min(0.5 * 2**held, 5.0)):
                    return Outcome.REQUEUED
