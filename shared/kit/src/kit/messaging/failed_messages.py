"""Failed messages: reschedule transient failures, dead-letter permanent ones.

database or broker unavailable    rescheduled, without an end
event type of a later version     rescheduled for days: this process may be one that is not upgraded yet
any other error                   rescheduled for hours, each cause with attempts of its own: a bug that is deployed
                                  for minutes dead-letters nothing
permanent                         dead-lettered at once
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import structlog
from aio_pika.abc import AbstractIncomingMessage
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.envelope import BadEnvelope, UnrecognizedType, attributes
from contracts.personal_data import identifiers
from kit.db.database import Database, is_down
from kit.db.unit_of_work import utc_now
from kit.messaging import outbox
from kit.messaging.broker import Publisher
from kit.messaging.outbox import OutgoingMessage
from kit.messaging.publishers import PUBLISHER_HEADER, Publishers
from kit.messaging.topology import Queue
from kit.personal_data import erased
from kit.personal_data.declaration import PersonalData
from kit.personal_data.erasure import without_personal_data
from kit.runtime import metrics
from kit.runtime.backoff import Backoff
from kit.runtime.failures import Permanent, describe, sqlstate, stack

log = structlog.get_logger(__name__)

FAILURES_HEADER = "bursar-failures"
"""How often a message has failed, by cause, as JSON. Our own: the broker's x-delivery-count differs between versions,
and a rescheduled message is a new one for the broker."""
_MAX_FAILURES = 10_000
_LONGEST_REASON = 1000

HOURS = Backoff(first=timedelta(seconds=1), longest=timedelta(hours=1), attempts=16)
"""Ten attempts in the first ten minutes or so, and the last one after three to four hours."""
DAYS = Backoff(first=timedelta(minutes=1), longest=timedelta(hours=1), attempts=100)
"""Three days."""
ENDLESS = Backoff(first=timedelta(seconds=1), longest=timedelta(minutes=1), attempts=2**31)


@dataclass(frozen=True)
class Schedules:
    """When failed messages are due again."""

    failure: Backoff = HOURS
    unrecognized: Backoff = DAYS
    outage: Backoff = ENDLESS

    def of(self, error: Exception) -> Backoff:
        if isinstance(error, UnrecognizedType):
            return self.unrecognized
        return self.outage if is_down(error) else self.failure


class FailedMessages:
    """Keeps messages that could not be processed; each call returns once the message is safe, and raises otherwise."""

    def __init__(
        self, publishers: Publishers, database: Database, publisher: Publisher, schedules: Schedules | None = None
    ) -> None:
        self._publishers = publishers
        self._database = database
        self._publisher = publisher
        self._schedules = schedules or Schedules()

    async def keep(self, queue: Queue, message: AbstractIncomingMessage, error: Exception) -> bool:
        """Reschedules or dead-letters. Returns whether the message was dead-lettered."""
        cause = _cause(error)
        failures = _failures(message)
        failures[cause] = attempt = failures.get(cause, 0) + 1
        schedule = self._schedules.of(error)
        if isinstance(error, UnrecognizedType):
            metrics.UNRECOGNIZED.labels(queue.name).inc()
            log.error("event type not recognized", queue=queue.name, event_id=event_id(message), error=describe(error))
        if is_permanent(error) or schedule.exhausted(attempt):
            await self._dead_letter(queue, message, error, sum(failures.values()))
            return True
        await self._reschedule(queue, message, error, failures, schedule.delay(attempt))
        return False

    async def _reschedule(
        self,
        queue: Queue,
        message: AbstractIncomingMessage,
        error: Exception,
        failures: Mapping[str, int],
        delay: timedelta,
    ) -> None:
        """Keeps the message in our own database until it is due again, so that it does not block its neighbors."""
        log.warning(
            "message rescheduled",
            queue=queue.name,
            event_id=event_id(message),
            failures=failures,
            seconds=round(delay.total_seconds(), 1),
            error=describe(error),
            at=stack(error, limit=3),
        )
        rescheduled = OutgoingMessage(
            key=f"rescheduled/{uuid4()}",  # a message may be rescheduled, dead-lettered, replayed and rescheduled again
            exchange=queue.exchange,
            routing_key=queue.name,
            body=message.body,
            headers={
                **_own_headers(message),
                FAILURES_HEADER: json.dumps(failures),
                PUBLISHER_HEADER: await self._publishers.publisher_of(queue.name, message),
            },
        )
        async with self._database.transaction() as db:
            rescheduled = replace(rescheduled, body=await _body_to_keep(db, message))
            await outbox.put(db, rescheduled, available_at=utc_now() + delay)

    async def _dead_letter(
        self, queue: Queue, message: AbstractIncomingMessage, error: Exception, attempt: int
    ) -> None:
        """To the dead-letter queue, with what an operator needs to know. Returns after the broker's confirm.

        A row says who published the message first: a replay is judged by it.
        """
        log.error(
            "message dead-lettered",
            queue=queue.name,
            event_id=event_id(message),
            attempts=attempt,
            error=describe(error),
            at=stack(error),
        )
        dead = OutgoingMessage(
            key=f"dead/{uuid4()}",
            exchange=queue.exchange,
            routing_key=queue.dead,
            body=message.body,
            headers={
                **_own_headers(message),
                PUBLISHER_HEADER: await self._publishers.publisher_of(queue.name, message),
            },
        )
        async with self._database.transaction() as db:
            dead = replace(dead, body=await _body_to_keep(db, message))
            await outbox.put_published(db, dead)
        about = {
            "bursar-queue": queue.name,
            "bursar-reason": describe(error)[:_LONGEST_REASON],
            "bursar-attempts": attempt,
            "bursar-stack": stack(error),
            "bursar-dead-lettered-at": datetime.now(UTC).isoformat(),
        }
        await self._publisher.publish(replace(dead, headers={**dead.headers, **about}))


async def _body_to_keep(db: AsyncConnection, message: AbstractIncomingMessage) -> bytes:
    """Without personal data if the message names somebody who is erased: it may be kept for longer than the erasure's
    jobs look for it."""
    await erased.lock_shared(db)
    event = cloud_event_attributes(message)
    if not await erased.find(db, identifiers(message.body) | {event.get("subject", "")}):
        return message.body
    return without_personal_data(PersonalData(), event.get("type", ""), message.body)


def cloud_event_attributes(message: AbstractIncomingMessage) -> dict[str, str]:
    """The CloudEvents attributes; empty if one of them is not text."""
    try:
        return attributes(message.headers)
    except BadEnvelope:
        return {}


def event_id(message: AbstractIncomingMessage) -> str:
    return cloud_event_attributes(message).get("id") or message.message_id or "unknown"


def is_permanent(error: Exception) -> bool:
    return isinstance(error, (Permanent, BadEnvelope)) and not isinstance(error, UnrecognizedType)


def _cause(error: Exception) -> str:
    """The error's type and the database's code."""
    return " ".join(filter(None, (type(error).__name__, sqlstate(error))))


def _failures(message: AbstractIncomingMessage) -> dict[str, int]:
    """Our own counts. Anything that is not one counts as none."""
    try:
        found = json.loads(str(message.headers.get(FAILURES_HEADER, "{}")))
        counts = {str(cause): int(count) for cause, count in found.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}
    return {cause: count for cause, count in counts.items() if 0 <= count <= _MAX_FAILURES}


def _own_headers(message: AbstractIncomingMessage) -> dict[str, Any]:
    """The publisher's headers that JSON and PostgreSQL can hold. The broker's own (x-death, ...) are left out."""
    headers = message.headers.items()
    return {name: value for name, value in headers if not name.startswith("x-") and _storable(name, value)}


def _storable(name: str, value: object) -> bool:
    return "\x00" not in name and (isinstance(value, int) or (isinstance(value, str) and "\x00" not in value))
