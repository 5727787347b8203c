"""Events that a service lacks: it asks for them by their ids, and who has published them publishes them again."""

from __future__ import annotations

from collections.abc import Collection

import structlog
from faststream.rabbit import RabbitRouter
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.envelope import Envelope
from contracts.event_requests import EventsRequested
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.outbox import EVENTS_EXCHANGE
from kit.messaging.subscriber import carries, subscriber
from kit.messaging.topology import Queue

log = structlog.get_logger(__name__)

# By index for each key: the planner may read whole partitions otherwise.
_MAKE_DUE = text(
    """
    INSERT INTO outbox_due (id, month)
    SELECT message.id, message.month FROM unnest(CAST(:ids AS text[])) AS wanted (message_key) CROSS JOIN LATERAL (
        SELECT id, month FROM outbox_messages
        WHERE outbox_messages.message_key = wanted.message_key AND exchange = :exchange OFFSET 0
    ) AS message
    ON CONFLICT DO NOTHING
    """
)


def request_queue(service: str) -> Queue:
    return Queue(f"{service}.requests", events=(EventsRequested,))


def event_requests(queue: Queue) -> RabbitRouter:
    """Of a service whose events are all in its outbox."""
    router = RabbitRouter()

    @subscriber(router, queue)(filter=carries(EventsRequested))
    async def publish_requested_again(event: Envelope[EventsRequested], uow: UnitOfWork) -> None:
        await publish_again(uow.db, event.data.event_ids)

    return router


async def publish_again(db: AsyncConnection, event_ids: Collection[str]) -> int:
    """Makes those of these events due that this service has published and still has in its outbox. Returns how many."""
    parameters = {"ids": sorted(set(event_ids)), "exchange": EVENTS_EXCHANGE}
    count = (await db.execute(_MAKE_DUE, parameters)).rowcount
    if count:
        log.info("requested events are published again", count=count)
    return count


async def request_events(uow: UnitOfWork, event_ids: Collection[str], *, cause: str) -> None:
    """Asks for events that were published before. `cause`: the same one asks once."""
    event = EventsRequested(event_ids=tuple(event_ids))
    await uow.publish(event, id=f"{cause}/{event.type}", subject=cause)
