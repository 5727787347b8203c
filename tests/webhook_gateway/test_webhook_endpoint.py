"""POST /api/stripe/webhook: what is accepted, answered, journaled and published."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from tests.waiting import until
from tests.webhook_gateway import stripe_events as stripe
from tests.webhook_gateway.harness import PUBLISHED, TLS, Gateway, running
from tests.webhook_gateway.stripe_events import body_of, sign

from kit.messaging.topology import declare_at
from testkit.postgres_server import PostgresServer
from testkit.rabbit_server import RabbitServer

LAST_WEBHOOK = "bursar_last_webhook_timestamp_seconds "


@pytest.fixture(scope="module")
def started(postgres_server: PostgresServer, rabbit_server: RabbitServer) -> Iterator[Gateway]:
    with running(postgres_server, rabbit_server, "gateway_endpoint") as gateway:
        yield gateway


@pytest.fixture
async def gateway(started: Gateway) -> AsyncIterator[Gateway]:
    await declare_at(started.amqp_url, [PUBLISHED])
    await started.published()
    yield started


async def test_an_event_is_answered_journaled_and_published(gateway: Gateway) -> None:
    event = stripe.event("payment_intent.succeeded", stripe.intent())
    assert await gateway.deliver(event) == 200

    async def is_published() -> bool:
        return (await gateway.journal()).get(event["id"]) == 1

    await until(is_published)
    (envelope,) = await gateway.published()
    assert envelope.id == f"{event['id']}/payment.succeeded.v1"


@pytest.mark.parametrize(
    "path",
    [
        "/api/stripe/webhook/",
        "/api/stripe/webhook//",
        "/api/webhooks/stripe",
        "/api/webhook/stripe",
        "/api/payments/webhook/",
        "/api/payments/webhook",
    ],
)
async def test_the_seed_systems_paths_are_accepted(gateway: Gateway, path: str) -> None:
    event = stripe.event("payment_intent.succeeded", stripe.intent())
    assert (await gateway.post(body_of(event), path=path)).status_code == 200

    async def is_published() -> bool:
        return (await gateway.journal()).get(event["id"]) == 1

    await until(is_published)


async def test_duplicate_deliveries_are_one_event(gateway: Gateway) -> None:
    event = stripe.event("payment_intent.succeeded", stripe.intent())
    assert await asyncio.gather(*(gateway.deliver(event) for _ in range(20))) == [200] * 20

    async def is_published() -> bool:
        return (await gateway.journal()).get(event["id"]) == 1

    await until(is_published)
    assert [envelope.id for envelope in await gateway.published()] == [f"{event['id']}/payment.succeeded.v1"]


@pytest.mark.parametrize("type", ["product.created", "checkout.session.expired"])
async def test_events_that_concern_no_purchase_are_journaled_and_not_published(gateway: Gateway, type: str) -> None:
    event = stripe.event(type, stripe.session(metadata={"order": "of another system"}))
    assert await gateway.deliver(event) == 200

    async def is_processed() -> bool:
        return (await gateway.journal()).get(event["id"]) == 0

    await until(is_processed)
    assert await gateway.published() == []


async def test_a_rolled_secret_is_accepted_while_it_is_configured(gateway: Gateway) -> None:
    body = body_of(stripe.event("payment_intent.succeeded", stripe.intent()))
    response = await gateway.post(body, signature=sign(body, secret="whsec_test_rolled"))
    assert response.status_code == 200


async def test_the_time_of_the_last_webhook_is_measured(gateway: Gateway) -> None:
    before = int(time.time())
    assert await gateway.deliver(stripe.event("payment_intent.succeeded", stripe.intent())) == 200
    (line,) = (each for each in (await gateway.metrics()).splitlines() if each.startswith(LAST_WEBHOOK))
    assert before <= float(line.removeprefix(LAST_WEBHOOK)) <= time.time()


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"livemode": True}, "wrong_mode"),
        ({"livemode": None}, "wrong_mode"),
        ({"livemode": 0}, "wrong_mode"),
        ({"account": "acct_other"}, "wrong_account"),
        ({"account": ["acct_other"]}, "wrong_account"),
    ],
)
async def test_events_of_another_mode_or_account_are_rejected(
    gateway: Gateway, fields: dict[str, object], code: str
) -> None:
    event = {**stripe.event("payment_intent.succeeded", stripe.intent()), **fields}
    response = await gateway.post(body_of(event))
    assert (response.status_code, response.json()["code"]) == (400, code)
    assert event["id"] not in await gateway.journal()
    assert f'bursar_stripe_rejected_total{{code="{code}"}}' in await gateway.metrics()


GOOD = body_of(stripe.event("payment_intent.succeeded", stripe.intent(), id="evt_hostile"))
HOSTILE = {
    "no signature": (GOOD, None),
    "garbled signature": (GOOD, "garbage"),
    "wrong secret": (GOOD, sign(GOOD, secret="whsec_of_another_account")),
    "stale": (GOOD, sign(GOOD, at=time.time() - 400)),
    "from the future": (GOOD, sign(GOOD, at=time.time() + 3_000)),
    "non-ASCII signature": (GOOD, "t=1,v1=éäö\u2028"),
    "tampered body": (GOOD.replace(b"489000", b"989000"), sign(GOOD)),
    "empty body": (b"", sign(b"")),
    "not JSON": (b"{", sign(b"{")),
    "null": (b"null", sign(b"null")),
    "a list": (b"[1]", sign(b"[1]")),
    "no id": (b'{"type": "a"}', sign(b'{"type": "a"}')),
    "an id that is an object": (b'{"id": {"a": 1}, "type": "a"}', sign(b'{"id": {"a": 1}, "type": "a"}')),
    "an id with NUL": (b'{"id": "evt_\\u0000", "type": "a"}', sign(b'{"id": "evt_\\u0000", "type": "a"}')),
    "deep": (b"[" * 200_000, sign(b"[" * 200_000)),
    "deep object": (b'{"id":' * 100_000, sign(b'{"id":' * 100_000)),
    "not UTF-8": (b'{"id": "\xff\xfe"}', sign(b'{"id": "\xff\xfe"}')),
    "a huge number": (b'{"id": ' + b"9" * 6_000 + b"}", sign(b'{"id": ' + b"9" * 6_000 + b"}")),
    "5 MB": (b" " * 5_000_000 + GOOD, sign(b" " * 5_000_000 + GOOD)),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_deliveries_are_rejected_and_not_journaled(gateway: Gateway, name: str) -> None:
    body, signature = HOSTILE[name]
    before = await gateway.journal()
    response = await gateway.post(body, signature=signature)
    assert 400 <= response.status_code < 500
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"]
    assert await gateway.journal() == before


async def test_the_body_limit_applies_to_chunked_requests(gateway: Gateway) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b" " * 100_000

    headers = {"Stripe-Signature": f"t={int(time.time())},v1=a"}
    async with httpx.AsyncClient(verify=TLS) as client:
        response = await client.post(f"{gateway.api.url}/api/stripe/webhook", content=endless(), headers=headers)
    assert response.status_code == 413


async def test_signed_nonsense_is_journaled_and_translates_to_nothing(gateway: Gateway) -> None:
    """Everything with a valid signature is stored, and neither the API nor the relay fails on it."""
    nonsense = [
        stripe.event("payment_intent.succeeded", {"metadata": {"student_id": "\ud800", "program_slug": "\x00"}}),
        stripe.event("charge.refunded", {"amount_refunded": 10**30, "id": "ch_x", "currency": "usd"}),
        {"id": "evt_bare_1", "type": "invoice.paid", "data": [], "created": "yesterday", "livemode": False},
        {"id": "evt_bare_2", "type": "customer.subscription.updated", "livemode": False},
    ]
    for event in nonsense:
        assert await gateway.deliver(event) == 200

    async def all_processed() -> bool:
        journal = await gateway.journal()
        return all(journal.get(event["id"]) is not None for event in nonsense)

    await until(all_processed)


async def test_other_methods_and_paths_get_a_problem_document(gateway: Gateway) -> None:
    async with httpx.AsyncClient(verify=TLS) as client:
        for path in ("/api/stripe/webhook", "/api/payments/webhook/"):
            refused = await client.get(gateway.api.url + path)
            assert (refused.status_code, refused.headers["content-type"]) == (405, "application/problem+json")
        missing = await client.post(f"{gateway.api.url}/api/nothing")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("start", [b"POST /", b"POST / HTTP/1.1\r\nHost: x\r\nX-Long: "])
async def test_endless_headers_end_the_connection(gateway: Gateway, start: bytes) -> None:
    host, _, port = gateway.api.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(start)
    with contextlib.suppress(ConnectionError):
        for _ in range(400):
            writer.write(b"a" * 10_000)
            await writer.drain()
            await asyncio.sleep(0)
    with contextlib.suppress(ConnectionError):
        assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 400")
    writer.close()
