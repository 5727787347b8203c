"""A lost webhook heals: webhook-gateway fetches Stripe's events about the object, and they pass through its journal."""

from __future__ import annotations

from contracts.checkout import StripeEventsRequested
from kit.db.unit_of_work import UnitOfWork


async def request_events(uow: UnitOfWork, object_id: str) -> None:
    """Asks for the events about the object (cs_…, pi_…, in_… or sub_…), which Stripe says has changed although no event
    of it has arrived. At most once a day: the same id is one event."""
    event = StripeEventsRequested(object=object_id)
    await uow.publish(event, id=f"{object_id}/{uow.now:%Y-%m-%d}/{event.type}", subject=object_id)
