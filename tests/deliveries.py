"""Events handed to a consumer's handler as the broker would hand them: one transaction each, duplicates included."""

from __future__ import annotations

from datetime import UTC, datetime

from contracts.envelope import Envelope, Event
from kit import inbox
from kit.consumer import Consumer
from kit.db import Database
from kit.trace import cause_of
from kit.work import Work

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def envelope(id: str, event: Event, *, subject: str = "test") -> Envelope[Event]:
    return Envelope(id=id, source="tests", subject=subject, time=AT, data=event)


async def deliver(database: Database, consumer: Consumer, source: str, heard: Envelope[Event]) -> None:
    """One delivery, exactly as kit.consuming does it between the broker and the commit."""
    async with database.transaction() as db:
        if await inbox.claim(db, queue=consumer.queue.name, event_id=heard.id):
            work = Work(db=db, source=source, now=AT, cause=cause_of(heard))
            await consumer.handlers()[heard.type](heard, work)
