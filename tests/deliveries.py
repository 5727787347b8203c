"""Events handed to a consumer's handler as the broker would hand them: one transaction each, duplicates included."""

from __future__ import annotations

from datetime import UTC, datetime

from contracts.envelope import Envelope, Event
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork
from kit.messaging import inbox
from kit.messaging.consumer import Consumer
from kit.runtime.trace import cause_of

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def envelope(id: str, event: Event, *, subject: str = "test") -> Envelope[Event]:
    return Envelope(id=id, source="tests", subject=subject, time=AT, data=event)


async def deliver(database: Database, consumer: Consumer, source: str, heard: Envelope[Event]) -> None:
    """One delivery, exactly as kit.messaging.subscriber does it between the broker and the commit."""
    async with database.transaction() as db:
        if await inbox.claim(db, queue=consumer.queue.name, event_id=heard.id):
            uow = UnitOfWork(db=db, source=source, now=AT, cause=cause_of(heard))
            await consumer.handlers()[heard.type](heard, uow)
