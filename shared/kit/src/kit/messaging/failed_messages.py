"""Failed messages: reschedule transient failures, dead-letter permanent ones."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import structlog
from aio_pika.abc import AbstractIncomingMessage

from contracts.envelope import BadEnvelope, attributes
from kit.db.database import Database, is_down
from kit.db.unit_of_work import utc_now
from kit.messaging import outbox
from kit.messaging.broker import Publisher, Unroutable
from kit.messaging.outbox import OutgoingMessage
from kit.messaging.topology import Queue, declare_at
from kit.runtime.backoff import Backoff
from kit.runtime.failures import Permanent, describe, stack

log = structlog.get_logger(__name__)

ATTEMPT_HEADER = "bursar-attempt"
"""Our own attempt counter: the broker's x-delivery-count differs between versions, and a rescheduled message is new."""
_MAX_ATTEMPT = 10_000


class FailedMessages:
    """Keeps messages that could not be processed; each call returns once the message is safe, and raises otherwise."""

    def __init__(self, amqp_url: str, database: Database, publisher: Publisher, backoff: Backoff) -> None:
        self._amqp_url = amqp_url
        self._database = database
        self._publisher = publisher
        self._backoff = backoff

    async def keep(self, queue: Queue, message: AbstractIncomingMessage, error: Exception) -> bool:
        """Reschedules or dead-letters. Returns whether the message was dead-lettered.

        An outage of the database does not use up attempts: nothing was decided about the message.
        """
        attempt = _attempt(message) + 1
        permanent = isinstance(error, (Permanent, BadEnvelope))
        if permanent or (not is_down(error) and self._backoff.exhausted(attempt)):
            await self._dead_letter(queue, message, error, attempt)
            return True
        await self._reschedule(queue, message, error, attempt)
        return False

    async def _reschedule(self, queue: Queue, message: AbstractIncomingMessage, error: Exception, attempt: int) -> None:
        """Keeps the message in our own database until it is due again, so that it does not block its neighbors."""
        delay = self._backoff.delay(attempt)
        log.warning(
            "message rescheduled",
            queue=queue.name,
            event_id=event_id(message),
            attempt=attempt,
            seconds=round(delay.total_seconds(), 1),
            error=describe(error),
            at=stack(error, limit=3),
        )
        rescheduled = OutgoingMessage(
            key=f"rescheduled/{uuid4()}",  # a message may be rescheduled, dead-lettered, replayed and rescheduled again
            exchange=queue.exchange,
            routing_key=queue.name,
            body=message.body,
            headers={**_own_headers(message), ATTEMPT_HEADER: attempt},
            mandatory=True,
        )
        async with self._database.transaction() as db:
            await outbox.put(db, rescheduled, available_at=utc_now() + delay)

    async def _dead_letter(
        self, queue: Queue, message: AbstractIncomingMessage, error: Exception, attempt: int
    ) -> None:
        """To the dead-letter queue, with what an operator needs to know. Returns after the broker's confirm."""
        log.error(
            "message dead-lettered",
            queue=queue.name,
            event_id=event_id(message),
            attempts=attempt,
            error=describe(error),
            at=stack(error),
        )
        dead = OutgoingMessage(
            key=event_id(message),
            exchange=queue.exchange,
            routing_key=queue.dead,
            body=message.body,
            headers={
                **_own_headers(message),
                "bursar-queue": queue.name,
                "bursar-reason": describe(error),
                "bursar-attempts": attempt,
                "bursar-stack": stack(error),
                "bursar-dead-lettered-at": datetime.now(UTC).isoformat(),
            },
            mandatory=True,
        )
        try:
            await self._publisher.publish(dead)
        except Unroutable:
            await declare_at(self._amqp_url, [queue])
            await self._publisher.publish(dead)


def cloud_event_attributes(message: AbstractIncomingMessage) -> dict[str, str]:
    """The CloudEvents attributes; empty if one of them is not text."""
    try:
        return attributes(message.headers)
    except BadEnvelope:
        return {}


def event_id(message: AbstractIncomingMessage) -> str:
    return cloud_event_attributes(message).get("id") or message.message_id or "unknown"


def _attempt(message: AbstractIncomingMessage) -> int:
    """Our own count. Anything that is not one counts as no attempt."""
    value = message.headers.get(ATTEMPT_HEADER, 0)
    return value if isinstance(value, int) and 0 <= value <= _MAX_ATTEMPT else 0


def _own_headers(message: AbstractIncomingMessage) -> dict[str, Any]:
    """The publisher's headers that JSON and PostgreSQL can hold. The broker's own (x-death, ...) are left out."""
    return {name: value for name, value in message.headers.items() if not name.startswith("x-") and _storable(value)}


def _storable(value: object) -> bool:
    return isinstance(value, int) or (isinstance(value, str) and "\x00" not in value)
