"""Handlers of the events in webhook-gateway's queues."""

from __future__ import annotations

import structlog
from faststream.rabbit import RabbitRouter

from contracts.checkout import StripeEventsRequested
from contracts.envelope import Envelope
from contracts.event_requests import EventsRequested
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.event_requests import publish_again
from kit.messaging.subscriber import carries, subscriber
from kit.runtime.failures import Permanent
from webhook_gateway.fetched_object import FetchedObject
from webhook_gateway.jobs import FETCH
from webhook_gateway.replay import republish
from webhook_gateway.tables import Lane
from webhook_gateway.topology import FETCHES, REQUESTS

log = structlog.get_logger(__name__)


def fetches() -> RabbitRouter:
    router = RabbitRouter()
    fetches = subscriber(router, FETCHES)

    @fetches(filter=carries(StripeEventsRequested))
    async def enqueue_fetch(event: Envelope[StripeEventsRequested], uow: UnitOfWork) -> None:
        """A job, because Stripe is not called with a transaction open."""
        if FetchedObject.parse(event.data.object) is None:
            raise Permanent("events can be requested of sessions, payment intents, invoices and subscriptions")
        await uow.enqueue(FETCH, key=event.id, payload={"object": event.data.object})

    return router


def event_requests() -> RabbitRouter:
    """Of events that another service lacks: Stripe's are in the journal, the others in the outbox."""
    router = RabbitRouter()

    @subscriber(router, REQUESTS)(filter=carries(EventsRequested))
    async def publish_requested_again(event: Envelope[EventsRequested], uow: UnitOfWork) -> None:
        journaled = {id.partition("/")[0] for id in event.data.event_ids}
        count = await republish(uow.db, sorted(journaled), Lane.REPLAY)
        if count:
            log.info("requested events are published again", count=count)
        await publish_again(uow.db, event.data.event_ids)

    return router
