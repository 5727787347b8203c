"""Events handed to the handlers of routers without a broker, duplicates included."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from faststream.rabbit import RabbitRouter
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.envelope import Envelope, Event
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.messaging import inbox
from kit.messaging.batches import Batches
from kit.messaging.inbox import Handler
from kit.messaging.subscriber import filters, handlers, subscribers_of
from kit.runtime.trace import cause_of

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
Routers = RabbitRouter | Sequence[RabbitRouter]


def envelope(id: str, event: Event, *, subject: str = "test", source: str = "tests") -> Envelope[Event]:
    return Envelope(id=id, source=source, subject=subject, time=AT, data=event)


def find_handler(routers: Routers, type_: str) -> tuple[str, Handler]:
    """The queue that takes events of this type, and their handler. Raises ValueError unless there is exactly one."""
    found = [
        (subscriber.queue.name, by_type[type_])
        for subscriber in subscribers_of(_flat(routers))
        if type_ in (by_type := handlers(subscriber))
    ]
    (only,) = found
    return only


def handled_types(routers: Routers) -> set[str]:
    return {type_ for subscriber in subscribers_of(_flat(routers)) for type_ in handlers(subscriber)}


async def handle(
    db: AsyncConnection, routers: Routers, service: str, event: Envelope[Any], *, now: datetime | None = None
) -> None:
    """In the caller's transaction."""
    queue, handler = find_handler(routers, event.type)
    if await inbox.claim_all(db, queue=queue, event_ids=[event.id]):
        await handler(event, UnitOfWork(db=db, source=service, now=now or utc_now(), cause=cause_of(event)))


async def deliver(
    database: Database, routers: Routers, service: str, event: Envelope[Any], *, now: datetime | None = AT
) -> None:
    """In a transaction of its own, as the middleware does it between delivery and acknowledgment."""
    async with database.transaction() as db:
        await handle(db, routers, service, event, now=now)


async def deliver_together(database: Database, routers: Routers, service: str, events: Sequence[Envelope[Any]]) -> None:
    """Those of each queue in one batch, as when they have waited in it."""
    for subscriber in subscribers_of(_flat(routers)):
        by_type, filter_of = handlers(subscriber), filters(subscriber)
        queue = Batches(database, queue=subscriber.queue.name, service=service)
        own = [event for event in events if event.type in by_type]
        await asyncio.gather(*(queue.process(each, by_type[each.type], filter_of[each.type]) for each in own))


def _flat(routers: Routers) -> Sequence[RabbitRouter]:
    return routers if isinstance(routers, Sequence) else [routers]
