"""An event of Stripe's that a service lacks is published again, from the journal and with its id."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.databases import migrated
from tests.deliveries import deliver, envelope
from tests.webhook_gateway.relay_steps import RelaySteps, paid, relay_steps

import webhook_gateway
from contracts.event_requests import EventsRequested
from contracts.payments import PaymentSucceeded
from testkit.postgres_server import PostgresServer
from testkit.rabbit_server import RabbitServer
from webhook_gateway.consumers import event_requests
from webhook_gateway.tables import Lane


@pytest.fixture(scope="module")
def url(postgres_server: PostgresServer) -> str:
    return migrated(postgres_server, "gateway_event_requests", webhook_gateway.__file__).url


@pytest.fixture
async def steps(url: str, own_rabbit: RabbitServer) -> AsyncIterator[RelaySteps]:
    async with relay_steps(url, own_rabbit.url, PaymentSucceeded.type) as steps:
        yield steps


async def test_a_requested_event_is_published_again_and_no_other(steps: RelaySteps) -> None:
    lost, other = paid(), paid()
    await steps.deliver(lost, other)
    await steps.relay().publish_due()
    assert sorted(await steps.received()) == sorted([lost["id"], other["id"]])
    asked = EventsRequested(event_ids=(f"{lost['id']}/{PaymentSucceeded.type}", "evt_unknown/payment.succeeded.v1"))
    request = envelope("enrollment/1/events.requested.v1", asked)
    await deliver(steps.database, event_requests(), "webhook-gateway", request)
    due = await steps.due()
    assert [(row.event_id, row.lane) for row in due.values()] == [(lost["id"], Lane.REPLAY)]
    await steps.relay(replays_per_second=1000).replay_due()
    assert await steps.received() == [lost["id"]]
    assert await steps.due() == {}
