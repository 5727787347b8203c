"""Handlers of the events in webhook-gateway's queues."""

from __future__ import annotations

from faststream.rabbit import RabbitRouter

from contracts.checkout import StripeEventsRequested
from contracts.envelope import Envelope
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.subscriber import carries, subscriber
from kit.runtime.failures import Permanent
from webhook_gateway.fetched_object import FetchedObject
from webhook_gateway.jobs import FETCH
from webhook_gateway.topology import FETCHES


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
