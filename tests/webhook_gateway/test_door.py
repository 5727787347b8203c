"""The door: what gets in, what is answered, what is kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from tests.waiting import until
from tests.webhook_gateway import stripe_events as stripe
from tests.webhook_gateway.gateway import EAR, Gateway, running
from tests.webhook_gateway.stripe_events import body_of, sign

from kit.messaging.topology import declare_at
from testkit.postgres_server import PostgresServer
from testkit.rabbit_server import RabbitServer


@pytest.fixture(scope="module")
def started(postgres_server: PostgresServer, rabbit_server: RabbitServer) -> Iterator[Gateway]:
    with running(postgres_server, rabbit_server, "gateway_door") as gateway:
        yield gateway


@pytest.fixture
async def gateway(started: Gateway) -> AsyncIterator[Gateway]:
    await declare_at(started.amqp_url, [EAR])
    await started.heard()
    yield started


async def test_an_event_is_journaled_published_and_answered(gateway: Gateway) -> None:
    event = stripe.event("payment_intent.succeeded", stripe.intent())
    assert await gateway.deliver(event) == 200

    async def published() -> bool:
        return (await gateway.journal()).get(event["id"]) == 1

    await until(published)
    (said,) = await gateway.heard()
    assert said.id == f"{event['id']}/payment.succeeded.v1"


@pytest.mark.parametrize(
    "path",
    [
        "/api/stripe/webhook/",
        "/api/webhooks/stripe",
        "/api/webhook/stripe",
        "/api/payments/webhook/",
        "/api/payments/webhook",
    ],
)
async def test_the_seed_systems_paths_lead_here_too(gateway: Gateway, path: str) -> None:
    event = stripe.event("payment_intent.succeeded", stripe.intent())
    assert (await gateway.post(body_of(event), path=path)).status_code == 200
    assert event["id"] in await gateway.journal()


async def test_a_delivery_that_is_doubled_is_one_event(gateway: Gateway) -> None:
    event = stripe.event("payment_intent.succeeded", stripe.intent())
    assert await asyncio.gather(*(gateway.deliver(event) for _ in range(20))) == [200] * 20

    async def published() -> bool:
        return (await gateway.journal()).get(event["id"]) == 1

    await until(published)
    assert [said.id for said in await gateway.heard()] == [f"{event['id']}/payment.succeeded.v1"]


@pytest.mark.parametrize("type", ["product.created", "checkout.session.completed"])
async def test_what_means_nothing_to_us_is_journaled_and_not_said(gateway: Gateway, type: str) -> None:
    event = stripe.event(type, stripe.session(metadata={"order": "of another system"}))
    assert await gateway.deliver(event) == 200

    async def settled() -> bool:
        return (await gateway.journal()).get(event["id"]) == 0

    await until(settled)
    assert await gateway.heard() == []


async def test_a_rolled_secret_is_accepted_while_it_is_configured(gateway: Gateway) -> None:
    body = body_of(stripe.event("payment_intent.succeeded", stripe.intent()))
    answer = await gateway.post(body, signature=sign(body, secret="whsec_test_rolled"))
    assert answer.status_code == 200


GOOD = body_of(stripe.event("payment_intent.succeeded", stripe.intent(), id="evt_hostile"))
HOSTILE = {
    "no signature": (GOOD, None),
    "garbled signature": (GOOD, "garbage"),
    "wrong secret": (GOOD, sign(GOOD, secret="whsec_of_somebody_else")),
    "stale": (GOOD, sign(GOOD, at=time.time() - 400)),
    "from the future": (GOOD, sign(GOOD, at=time.time() + 3_000)),
    "non-ASCII signature": (GOOD, "t=1,v1=éäö\u2028"),
    "tampered body": (GOOD.replace(b"489000", b"989000"), sign(GOOD)),
    "empty body": (b"", sign(b"")),
    "not JSON": (b"{", sign(b"{")),
    "null": (b"null", sign(b"null")),
    "a list": (b"[1]", sign(b"[1]")),
    "no id": (b'{"type": "a"}', sign(b'{"type": "a"}')),
    "an id that is none": (b'{"id": {"a": 1}, "type": "a"}', sign(b'{"id": {"a": 1}, "type": "a"}')),
    "an id with NUL": (b'{"id": "evt_\\u0000", "type": "a"}', sign(b'{"id": "evt_\\u0000", "type": "a"}')),
    "deep": (b"[" * 200_000, sign(b"[" * 200_000)),
    "deep object": (b'{"id":' * 100_000, sign(b'{"id":' * 100_000)),
    "not UTF-8": (b'{"id": "\xff\xfe"}', sign(b'{"id": "\xff\xfe"}')),
    "a huge number": (b'{"id": ' + b"9" * 6_000 + b"}", sign(b'{"id": ' + b"9" * 6_000 + b"}")),
    "5 MB": (b" " * 5_000_000 + GOOD, sign(b" " * 5_000_000 + GOOD)),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_deliveries_are_refused_and_leave_nothing(gateway: Gateway, name: str) -> None:
    body, signature = HOSTILE[name]
    before = await gateway.journal()
    answer = await gateway.post(body, signature=signature)
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"]
    assert await gateway.journal() == before


async def test_a_body_without_an_announced_length_is_limited_too(gateway: Gateway) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b" " * 100_000

    async with httpx.AsyncClient() as client:
        answer = await client.post(
            f"{gateway.api.url}/api/stripe/webhook", content=endless(), headers={"Stripe-Signature": "t=1,v1=a"}
        )
    assert answer.status_code == 413


async def test_any_fields_in_a_signed_event_are_survived(gateway: Gateway) -> None:
    """A real signature over nonsense: it is Stripe's word, so it is kept, and nobody falls over."""
    nonsense = [
        stripe.event("payment_intent.succeeded", {"metadata": {"student_id": "\ud800", "program_slug": "\x00"}}),
        stripe.event("charge.refunded", {"amount_refunded": 10**30, "id": "ch_x", "currency": "usd"}),
        {"id": "evt_bare_1", "type": "invoice.paid", "data": [], "created": "yesterday"},
        {"id": "evt_bare_2", "type": "customer.subscription.updated"},
    ]
    for event in nonsense:
        assert await gateway.deliver(event) == 200

    async def all_settled() -> bool:
        journal = await gateway.journal()
        return all(journal.get(event["id"]) is not None for event in nonsense)

    await until(all_settled)


async def test_other_methods_and_paths_are_problems(gateway: Gateway) -> None:
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{gateway.api.url}/api/stripe/webhook")).status_code == 405
        missing = await client.post(f"{gateway.api.url}/api/nothing")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
