"""One event id with another body: refused and reported, and the first one stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aio_pika
import asyncpg
import pytest
from tests.waiting import until
from tests.webhook_gateway import stripe_events as stripe
from tests.webhook_gateway.harness import Gateway, running
from tests.webhook_gateway.stripe_events import body_of

from testkit.postgres_server import PostgresServer
from testkit.rabbit_server import RabbitServer
from webhook_gateway.event import parse_event
from webhook_gateway.journal import EventConflict, Journal
from webhook_gateway.spill import SIGNATURE_HEADER
from webhook_gateway.topology import SPILL


@pytest.fixture(scope="module")
def gateway(postgres_server: PostgresServer, rabbit_server: RabbitServer) -> Iterator[Gateway]:
    with running(postgres_server, rabbit_server, "gateway_conflicts") as started:
        yield started


@pytest.fixture
async def journal(gateway: Gateway) -> AsyncIterator[Journal]:
    journal = Journal(gateway.database_url)
    yield journal
    await journal.close()


def paid(**fields: Any) -> dict[str, Any]:
    return stripe.event("payment_intent.succeeded", stripe.intent(**fields))


async def stored(gateway: Gateway, event_id: str) -> bytes:
    connection = await asyncpg.connect(gateway.database_url)
    try:
        body: bytes = await connection.fetchval("SELECT body FROM journal_events WHERE event_id = $1", event_id)
    finally:
        await connection.close()
    return body


async def test_another_body_is_refused_and_the_first_one_stays(gateway: Gateway) -> None:
    event = paid()
    other = {**event, "data": {"object": stripe.intent(amount_received=1)}}
    assert await gateway.deliver(event) == 200
    response = await gateway.post(body_of(other))
    assert (response.status_code, response.json()["code"]) == (409, "event_conflict")
    assert await stored(gateway, event["id"]) == body_of(event)
    assert "bursar_stripe_conflicts_total 1.0" in await gateway.metrics()
    assert await gateway.deliver(event) == 200


async def test_an_honest_redelivery_is_accepted(gateway: Gateway) -> None:
    """Stripe counts the endpoints that have not acknowledged an event, so the body changes."""
    event = paid()
    assert await gateway.deliver({**event, "pending_webhooks": 2}) == 200
    assert await gateway.deliver({**event, "pending_webhooks": 1}) == 200
    assert await gateway.deliver({**event, "pending_webhooks": 0, "request": None}) == 200


async def test_simultaneous_deliveries_of_two_bodies_store_one(gateway: Gateway) -> None:
    event = paid()
    bodies = [body_of({**event, "data": {"object": stripe.intent(amount_received=n)}}) for n in (1, 2)]
    responses = await asyncio.gather(*(gateway.post(bodies[n % 2]) for n in range(20)))
    kept = await stored(gateway, event["id"])
    assert kept in bodies
    for n, response in enumerate(responses):
        assert response.status_code == (200 if bodies[n % 2] == kept else 409)


async def test_one_batch_with_two_bodies_keeps_the_first(gateway: Gateway, journal: Journal) -> None:
    first, second = paid(), paid()
    other = body_of({**first, "data": {"object": stripe.intent(amount_received=1)}})
    again = body_of({**first, "pending_webhooks": 7})
    outcomes = await asyncio.gather(
        *(journal.write(parse_event(body)) for body in (body_of(first), other, body_of(second), again, other)),
        return_exceptions=True,
    )
    assert [isinstance(outcome, EventConflict) for outcome in outcomes] == [False, True, False, False, True]
    assert [outcomes[n] for n in (0, 2, 3)] == [True, True, False], "whether the event is new"
    assert await stored(gateway, first["id"]) == body_of(first)


async def test_a_batch_of_old_and_new_events_reads_the_old_ones_back(gateway: Gateway, journal: Journal) -> None:
    old, new = paid(), paid()
    assert await journal.write(parse_event(body_of(old)))
    changed = body_of({**old, "created": 5})
    outcomes = await asyncio.gather(
        *(journal.write(parse_event(body)) for body in (changed, body_of(new), body_of(old))), return_exceptions=True
    )
    assert isinstance(outcomes[0], EventConflict)
    assert outcomes[1:] == [True, False]


async def test_a_spilled_conflict_is_dead_lettered(gateway: Gateway) -> None:
    """The spill stores what it gets; the comparison follows with the journal."""
    event = paid()
    other, another = (body_of({**event, "data": {"object": stripe.intent(amount_received=n)}}) for n in (1, 2))
    assert await gateway.deliver(event) == 200
    connection = await aio_pika.connect(gateway.amqp_url)
    async with connection:
        channel = await connection.channel()
        dead = await channel.get_queue(SPILL.dead)
        await dead.purge()
        spill = await channel.get_exchange(SPILL.exchange)
        for body in (other, body_of({**event, "pending_webhooks": 0}), another):
            signed = aio_pika.Message(body, headers={SIGNATURE_HEADER: stripe.sign(body)})
            await spill.publish(signed, SPILL.name)

        async def dead_lettered() -> bytes | None:
            message = await dead.get(fail=False, no_ack=True)
            return message.body if message else None

        assert [await until(dead_lettered), await until(dead_lettered)] == [other, another]
    assert await stored(gateway, event["id"]) == body_of(event)
