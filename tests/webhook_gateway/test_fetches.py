"""A lost webhook heals: the events of an object are fetched from Stripe and pass through the journal."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prometheus_client import REGISTRY
from sqlalchemy import select
from tests.databases import migrated, opened
from tests.deliveries import deliver, envelope
from tests.webhook_gateway import stripe_events as stripe

import webhook_gateway
from contracts.checkout import StripeEventsRequested
from kit.db.database import Database
from kit.jobs.jobs import jobs
from kit.jobs.worker import JobWorker
from kit.runtime.failures import Permanent
from stripe_sandbox.clock import DAY
from stripe_sandbox.in_process import InProcess
from testkit.postgres_server import PostgresServer
from webhook_gateway import consumers
from webhook_gateway.event import Origin, parse_event
from webhook_gateway.fetcher import Fetcher, StripeUnavailable
from webhook_gateway.jobs import FETCH, FetchEvents
from webhook_gateway.journal import Journal
from webhook_gateway.tables import journal_due, journal_entries, journal_events
from webhook_gateway.topology import SERVICE
from webhook_gateway.translate import translate

NOW = datetime(2026, 11, 21, tzinfo=UTC)
LINE = {
    "quantity": 1,
    "price_data": {"currency": "usd", "unit_amount": 489_000, "product_data": {"name": "Barber apprenticeship"}},
}


@pytest.fixture(scope="module")
def url(postgres_server: PostgresServer) -> Iterator[str]:
    yield migrated(postgres_server, "gateway_fetches", webhook_gateway.__file__).url


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with opened(url) as database:
        yield database


@pytest.fixture
def sandbox() -> InProcess:
    return InProcess()


def fetcher_of(sandbox: InProcess, **changed: Any) -> Fetcher:
    settings: dict[str, Any] = {
        "api_key": sandbox.settings.secret_key.get_secret_value(),
        "base": "http://sandbox",
        "version": sandbox.settings.api_version,
        "transport": httpx.ASGITransport(app=sandbox.app),
    }
    return Fetcher(**{**settings, **changed})


class Gateway:
    """The consumer and the relay of the gateway, without their processes."""

    def __init__(self, database: Database, journal: Journal, handler: FetchEvents) -> None:
        self._database = database
        self._journal = journal
        self._worker = JobWorker(database, SERVICE, {FETCH: handler})

    async def request(self, object_id: str) -> None:
        """Delivers a request and makes the first attempt to fulfill it."""
        event = envelope(f"request_{uuid4()}", StripeEventsRequested(object=object_id))
        await deliver(self._database, consumers.fetches(), SERVICE, event)
        (job,) = await self._worker.take(10)
        await self._worker.attempt(job)

    async def journaled(self) -> dict[str, dict[str, Any]]:
        """The journaled events by type; the last one if there are several."""
        async with self._database.transaction() as db:
            rows = (await db.execute(select(journal_events).order_by(journal_events.c.received_at))).all()
        return {row.type: json.loads(row.body) for row in rows}

    async def unpublished(self) -> set[str]:
        async with self._database.transaction() as db:
            return set((await db.execute(select(journal_due.c.event_id))).scalars())

    async def mark_published(self) -> None:
        async with self._database.transaction() as db:
            await db.execute(journal_due.delete())

    async def last_job(self) -> Any:
        async with self._database.transaction() as db:
            return (await db.execute(select(jobs).order_by(jobs.c.created_at.desc()).limit(1))).one()


@pytest.fixture
async def gateway(database: Database, journal: Journal, sandbox: InProcess) -> AsyncIterator[Gateway]:
    async with database.transaction() as db:
        for table in (journal_events, journal_entries, journal_due):
            await db.execute(table.delete())
    fetcher = fetcher_of(sandbox)
    yield Gateway(database, journal, FetchEvents(fetcher, journal, Origin(livemode=False)))
    await fetcher.close()


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("bursar_stripe_fetches_total", {"outcome": outcome}) or 0


def new_session(sandbox: InProcess, **params: Any) -> Any:
    given: dict[str, Any] = {"mode": "payment", "line_items": [LINE], "success_url": "https://school.example/ok"}
    metadata = {**stripe.OUR_METADATA, "purchase_id": str(uuid4())}
    intent = {"metadata": metadata}
    return sandbox.client.v1.checkout.sessions.create(
        {**given, "metadata": metadata, "payment_intent_data": intent, **params}  # type: ignore[arg-type]
    )


def paid_session(sandbox: InProcess) -> Any:
    """A session that was paid, and whose webhooks nobody received."""
    session = new_session(sandbox)
    sandbox.operate_now(f"/sessions/{session.id}/pay", email="ada@example.org")
    return sandbox.client.v1.checkout.sessions.retrieve(session.id)


async def test_the_events_of_a_paid_session_are_fetched(gateway: Gateway, sandbox: InProcess) -> None:
    paid_session(sandbox)
    session = paid_session(sandbox)
    before = counted("fetched")
    await gateway.request(session.id)
    found = await gateway.journaled()
    assert found.keys() == {"checkout.session.completed", "payment_intent.succeeded", "charge.succeeded"}
    assert found["checkout.session.completed"]["data"]["object"]["id"] == session.id
    assert found["payment_intent.succeeded"]["data"]["object"]["id"] == session.payment_intent
    assert len(await gateway.unpublished()) == 3, "the relay publishes them"
    assert counted("fetched") == before + 1


async def test_a_delivery_that_arrives_after_all_is_the_same_event(
    gateway: Gateway, sandbox: InProcess, journal: Journal
) -> None:
    session = paid_session(sandbox)
    await gateway.request(session.id)
    ids = {event["id"] for event in (await gateway.journaled()).values()}
    delivered = [webhook for webhook in sandbox.take() if webhook.id in ids]
    assert len(delivered) == 3
    assert [await journal.write(parse_event(webhook.body.encode())) for webhook in delivered] == [False] * 3
    published = [translate(json.loads(webhook.body), received_at=NOW) for webhook in delivered]
    fetched = (await gateway.journaled()).values()
    assert all(translate(event, received_at=NOW) in published for event in fetched)


async def test_events_that_were_journaled_are_published_again(
    gateway: Gateway, sandbox: InProcess, journal: Journal
) -> None:
    """They were lost between the gateway and its consumers. Those that did process them ignore the repetition."""
    session = paid_session(sandbox)
    for webhook in sandbox.take():
        await journal.write(parse_event(webhook.body.encode()))
    await gateway.mark_published()
    await gateway.request(session.id)
    again = await gateway.unpublished()
    assert {type for type, event in (await gateway.journaled()).items() if event["id"] in again} == {
        "checkout.session.completed",
        "payment_intent.succeeded",
        "charge.succeeded",
    }


@pytest.mark.parametrize("kind", ["intent", "session"])
async def test_an_intent_and_its_session_find_each_other(gateway: Gateway, sandbox: InProcess, kind: str) -> None:
    session = paid_session(sandbox)
    await gateway.request(session.payment_intent if kind == "intent" else session.id)
    assert {"checkout.session.completed", "payment_intent.succeeded"} <= (await gateway.journaled()).keys()


def new_subscription(sandbox: InProcess) -> Any:
    customer = sandbox.client.v1.customers.create({"email": "ada@example.org", "payment_method": "pm_card_visa"})
    price = sandbox.client.v1.prices.create(
        {
            "currency": "usd",
            "unit_amount": 1_900,
            "recurring": {"interval": "month"},
            "product_data": {"name": "Membership"},
        }
    )
    method = sandbox.client.v1.payment_methods.list({"customer": customer.id}).data[0].id
    return sandbox.client.v1.subscriptions.create(
        {
            "customer": customer.id,
            "items": [{"price": price.id}],
            "default_payment_method": method,
            "metadata": {**stripe.OUR_METADATA, "purchase_id": str(uuid4())},
        }
    )


@pytest.mark.parametrize("kind", ["invoice", "subscription"])
async def test_an_invoice_and_a_subscription_find_their_payments(
    gateway: Gateway, sandbox: InProcess, kind: str
) -> None:
    new_subscription(sandbox)
    subscription = new_subscription(sandbox)
    await gateway.request(subscription.id if kind == "subscription" else subscription.latest_invoice)
    found = await gateway.journaled()
    assert {"invoice.paid", "invoice_payment.paid", "charge.succeeded"} <= found.keys()
    assert found["invoice.paid"]["data"]["object"]["id"] == subscription.latest_invoice
    assert found["customer.subscription.created"]["data"]["object"]["id"] == subscription.id


async def test_a_session_that_expired_is_fetched_too(gateway: Gateway, sandbox: InProcess) -> None:
    session = new_session(sandbox)
    sandbox.operate_now(f"/sessions/{session.id}/expire")
    before = counted("missing")
    await gateway.request(session.id)
    assert (await gateway.journaled()).keys() == {"checkout.session.expired"}
    assert counted("missing") == before


async def test_events_that_stripe_does_not_list_any_more_are_missing(gateway: Gateway, sandbox: InProcess) -> None:
    session = paid_session(sandbox)
    sandbox.operate_now("/clock/advance", seconds=31 * DAY)
    before = counted("missing")
    await gateway.request(session.id)
    assert await gateway.journaled() == {}
    assert counted("missing") == before + 1
    assert (await gateway.last_job()).done_at is not None, "another attempt would not find them either"


async def test_another_event_with_the_id_stays(gateway: Gateway, sandbox: InProcess, journal: Journal) -> None:
    session = paid_session(sandbox)
    for webhook in sandbox.take():
        changed = {**json.loads(webhook.body), "created": 5}
        await journal.write(parse_event(json.dumps(changed).encode()))
    await gateway.request(session.id)
    assert {event["created"] for event in (await gateway.journaled()).values()} == {5}


@pytest.mark.parametrize(
    "object_id", ["cus_1", "evt_1", "", "pi_", "pi_1/../../v1/customers", "pi_1?expand[]=x", "PI_1"]
)
async def test_a_request_for_anything_else_is_dead_lettered(database: Database, object_id: str) -> None:
    event = envelope(f"request_{uuid4()}", StripeEventsRequested(object=object_id))
    with pytest.raises(Permanent):
        await deliver(database, consumers.fetches(), SERVICE, event)


async def test_an_object_that_stripe_does_not_have_is_given_up(gateway: Gateway) -> None:
    before = counted("failed")
    await gateway.request("pi_nobody")
    job = await gateway.last_job()
    assert job.failed_at is not None
    assert "404" in job.last_error
    assert counted("failed") == before + 1


async def test_without_a_key_a_request_is_given_up(database: Database, journal: Journal, sandbox: InProcess) -> None:
    handler = FetchEvents(fetcher_of(sandbox, api_key=""), journal, Origin(livemode=False))
    gateway = Gateway(database, journal, handler)
    before = counted("failed")
    await gateway.request("pi_1")
    assert "STRIPE_API_KEY is not set" in (await gateway.last_job()).last_error
    assert counted("failed") == before + 1


async def test_an_object_of_the_other_mode_is_given_up(
    database: Database, journal: Journal, sandbox: InProcess
) -> None:
    gateway = Gateway(database, journal, FetchEvents(fetcher_of(sandbox), journal, Origin(livemode=True)))
    await gateway.request(paid_session(sandbox).id)
    assert "wrong_mode" in (await gateway.last_job()).last_error


async def test_an_outage_of_stripe_is_retried(database: Database, journal: Journal, sandbox: InProcess) -> None:
    gateway = Gateway(
        database, journal, FetchEvents(fetcher_of(sandbox, api_key="sk_test_wrong"), journal, Origin(livemode=False))
    )
    await gateway.request("pi_1")
    job = await gateway.last_job()
    assert (job.done_at, job.failed_at) == (None, None)
    assert job.available_at > datetime.now(UTC)
    async with database.transaction() as db:
        await db.execute(jobs.delete())


RESPONSES = [
    httpx.Response(500),
    httpx.Response(429),
    httpx.Response(401),
    httpx.Response(200, text="<html>"),
    httpx.Response(200, json=[1]),
    httpx.Response(302, headers={"Location": "https://elsewhere.example"}),
]


@pytest.mark.parametrize("response", RESPONSES, ids=[str(response.status_code) for response in RESPONSES])
async def test_any_other_answer_of_stripe_is_an_outage(sandbox: InProcess, response: httpx.Response) -> None:
    fetcher = fetcher_of(sandbox, transport=httpx.MockTransport(lambda _: response))
    with pytest.raises(StripeUnavailable):
        await fetcher.read("/v1/payment_intents/pi_1")
    await fetcher.close()


async def test_all_pages_are_read(sandbox: InProcess) -> None:
    """More events than a page has, and more types than Stripe accepts at once."""
    for _ in range(130):
        sandbox.client.v1.customers.create({"email": "ada@example.org"})
    fetcher = fetcher_of(sandbox)
    since = datetime.now(UTC) - timedelta(hours=1)
    types = ["customer.created", *(f"type.{n}" for n in range(30))]
    ids = [event["id"] async for event in fetcher.events(types=types, since=since)]
    assert len(ids) == len(set(ids)) == 130
    assert [event async for event in fetcher.events(types=types, since=since + timedelta(days=1))] == []
    await fetcher.close()
