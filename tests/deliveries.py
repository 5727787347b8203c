"""Events delivered to a router's handlers without a broker: one transaction each, duplicates included."""

from __future__ import annotations

from datetime import UTC, datetime

from faststream.rabbit import RabbitRouter

from contracts.envelope import Envelope, Event
from kit.db.database import Database
from kit.messaging import inbox
from kit.messaging.consumer import Consumer
from kit.messaging.inbox import Handler
from kit.messaging.subscriber import handlers, subscribers_of

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def envelope(id: str, event: Event, *, subject: str = "test") -> Envelope[Event]:
    return Envelope(id=id, source="tests", subject=subject, time=AT, data=event)


def queue_and_handler(event: Envelope[Event], *routers: RabbitRouter) -> tuple[str, Handler]:
    """The one queue of these routers that takes the event, and its handler."""
    found = [
        (subscriber.queue.name, handler)
        for subscriber in subscribers_of(routers)
        if (handler := handlers(subscriber).get(event.type))
    ]
    (only,) = found
    return only


async def deliver(
    database: Database, router: RabbitRouter | Consumer, service: str, event: Envelope[Event], *, now: datetime = AT
) -> None:
    """What the middleware does between delivery and acknowledgment, for one event that does not fail."""
    if isinstance(router, Consumer):
        router = router.router
    queue, handler = queue_and_handler(event, router)
    await inbox.handle(database, event, handler, queue=queue, service=service, now=now)
