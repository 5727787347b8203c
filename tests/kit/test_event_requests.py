"""A service publishes again what another one asks for, and nothing else."""

from __future__ import annotations

from sqlalchemy import text
from tests.deliveries import deliver, envelope
from tests.kit.test_republish import due, published

from contracts.event_requests import EventsRequested
from kit.db.database import Database
from kit.messaging.event_requests import event_requests, request_queue
from kit.messaging.outbox import OutgoingMessage, put_all


async def test_requested_events_are_due_again_with_their_ids(database: Database) -> None:
    await published(database, "evt_1", "evt_2", "evt_3")
    asked = EventsRequested(event_ids=("evt_3", "evt_1", "evt_of_another_service", "retry"))
    requests = event_requests(request_queue("checkout"))
    for number in (1, 2):  # two services may lack the same event
        await deliver(database, requests, "checkout", envelope(f"enrollment/{number}/events.requested.v1", asked))
    assert sorted(await due(database)) == [("evt_1", "payment.succeeded.v1"), ("evt_3", "payment.succeeded.v1")]


async def test_what_was_published_on_another_exchange_is_not(database: Database) -> None:
    """A retry has the id of its event."""
    await published(database)
    retry = OutgoingMessage(key="evt_9", exchange="checkout.queues", routing_key="checkout.payments", body=b"{}")
    async with database.transaction() as db:
        await put_all(db, [retry])
        await db.execute(text("DELETE FROM outbox_due"))
    asked = envelope("1/events.requested.v1", EventsRequested(event_ids=("evt_9",)))
    await deliver(database, event_requests(request_queue("checkout")), "checkout", asked)
    assert await due(database) == []
