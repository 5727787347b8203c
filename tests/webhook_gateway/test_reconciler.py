"""Events that Stripe lists and the journal does not have are journaled, each once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY
from sqlalchemy import select, update
from structlog.testing import capture_logs
from tests.databases import migrated, opened
from tests.webhook_gateway.stripe_transport import Stripe

import webhook_gateway
from contracts.audit import AuditRecorded
from kit.db.database import Database
from kit.messaging import audit
from kit.messaging.outbox import outbox_messages
from stripe_sandbox.clock import DAY
from testkit.postgres_server import PostgresServer
from webhook_gateway.event import Origin, parse_event
from webhook_gateway.fetcher import Fetcher, StripeUnavailable
from webhook_gateway.journal import Journal
from webhook_gateway.reconciler import Reconciler
from webhook_gateway.tables import Source, journal_due, journal_entries, journal_events, journal_reconciliation
from webhook_gateway.translate import TRANSLATED

MONTH_AGO = timedelta(days=30)


@pytest.fixture(scope="module")
def url(postgres_server: PostgresServer) -> Iterator[str]:
    yield migrated(postgres_server, "gateway_reconciler", webhook_gateway.__file__).url


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with opened(url) as database:
        async with database.transaction() as db:
            for table in (journal_events, journal_entries, journal_due):
                await db.execute(table.delete())
            now = datetime.now(UTC)
            row = {"reconciled_until": now - MONTH_AGO, "next_at": now, "completed_at": None}
            await db.execute(update(journal_reconciliation).values(row))
        yield database


@pytest.fixture
def build(database: Database, journal: Journal, stripe: Stripe) -> Callable[..., Reconciler]:
    def build(**changed: Any) -> Reconciler:
        settings: dict[str, Any] = {
            "journal": journal,
            "origin": Origin(livemode=False),
            "api_version": stripe.sandbox.settings.api_version,
            "interval": timedelta(),
            "grace": timedelta(),
        }
        return Reconciler(database, stripe.fetcher, **{**settings, **changed})

    return build


async def journaled(database: Database) -> list[str]:
    """In the order in which they were written; those of one statement in that of their ids."""
    async with database.transaction() as db:
        return list(await db.scalars(select(journal_events.c.event_id).order_by(journal_events.c.received_at)))


async def due(database: Database) -> set[str]:
    async with database.transaction() as db:
        return set(await db.scalars(select(journal_due.c.event_id)))


async def sources(database: Database) -> set[str]:
    async with database.transaction() as db:
        return set(await db.scalars(select(journal_events.c.source)))


async def row(database: Database) -> Any:
    async with database.transaction() as db:
        return (await db.execute(select(journal_reconciliation))).one()


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("bursar_stripe_reconciled_total", {"outcome": outcome}) or 0


def problem(name: str) -> float | None:
    return REGISTRY.get_sample_value("bursar_stripe_endpoint_problem", {"problem": name})


async def test_what_was_not_delivered_is_journaled_once_and_published(
    build: Callable[..., Reconciler], stripe: Stripe, database: Database, journal: Journal
) -> None:
    emitted = stripe.emit(250)
    delivered = {webhook.id: webhook for webhook in stripe.sandbox.take()}
    for id in emitted[::2]:
        await journal.write(parse_event(delivered[id].body.encode()))
    before = counted("restored")
    await build().reconcile_due()
    assert sorted(await journaled(database)) == sorted(emitted)
    assert await due(database) == set(emitted), "the relay publishes them"
    await build().reconcile_due()
    assert counted("restored") == before + 125
    assert await journal.write(parse_event(delivered[emitted[1]].body.encode())) is False, "delivered after all"


async def test_restored_events_are_marked_as_fetched(
    build: Callable[..., Reconciler], stripe: Stripe, database: Database
) -> None:
    """They have no signature that the relay could verify, and only the worker's login can write that they need none."""
    stripe.emit()
    await build().reconcile_due()
    assert await sources(database) == {Source.FETCHED}


async def test_events_of_all_translated_types_are_asked_for(
    build: Callable[..., Reconciler], stripe: Stripe, database: Database
) -> None:
    emitted = [stripe.emit(type=type)[0] for type in sorted(TRANSLATED)]
    stripe.emit(type="customer.created")
    await build().reconcile_due()
    assert sorted(await journaled(database)) == sorted(emitted)


async def test_the_next_comparison_begins_where_the_last_one_ended(
    build: Callable[..., Reconciler], stripe: Stripe
) -> None:
    stripe.emit()
    await build().reconcile_due()
    stripe.requests.clear()
    await build().reconcile_due()
    listed = [request.url.params for request in stripe.requests if request.url.path == "/v1/events"]
    since = {datetime.fromtimestamp(int(params["created[gte]"]), UTC) for params in listed}
    assert all(datetime.now(UTC) - timedelta(hours=1) < each < datetime.now(UTC) for each in since)


async def test_events_that_come_while_pages_are_read_are_not_left_out(
    build: Callable[..., Reconciler], stripe: Stripe, database: Database
) -> None:
    emitted = stripe.emit(250)

    def burst(request: httpx.Request) -> None:
        if "starting_after" in request.url.params and len(emitted) < 600:
            emitted.extend(stripe.emit(120))

    stripe.before = burst
    await build().reconcile_due()
    stripe.before = lambda _: None
    await build().reconcile_due()
    assert len(emitted) > 400
    assert sorted(await journaled(database)) == sorted(emitted)


async def test_of_more_events_than_memory_may_hold_the_oldest_come_first(
    build: Callable[..., Reconciler], stripe: Stripe, database: Database
) -> None:
    emitted = []
    for _ in range(7):
        emitted += stripe.emit(30)
        stripe.sandbox.operate_now("/clock/advance", seconds=3600)
    reconciler = build(held=50, clock=lambda: datetime.now(UTC) + timedelta(hours=8))
    assert await reconciler.reconcile_due() is True
    assert set(await journaled(database)) == set(emitted[:50])
    while await reconciler.reconcile_due():
        pass
    assert sorted(await journaled(database)) == sorted(emitted)


async def test_the_rate_limit_is_waited_for(
    build: Callable[..., Reconciler], stripe: Stripe, database: Database
) -> None:
    emitted = stripe.emit(3)
    await _put_faults(stripe, 3)
    await build().reconcile_due()
    assert sorted(await journaled(database)) == sorted(emitted)
    await _put_faults(stripe, 4)
    with pytest.raises(StripeUnavailable):
        await build().restore(since=datetime.now(UTC) - MONTH_AGO)
    await _put_faults(stripe, 0)


async def test_a_command_is_recorded_in_the_audit_trail(
    build: Callable[..., Reconciler], stripe: Stripe, database: Database
) -> None:
    emitted = stripe.emit(30)
    since = datetime.now(UTC) - MONTH_AGO
    result = await build(held=20).restore_all(since=since, until=None, actor=audit.operator("ops-7"))
    assert (result.restored, result.more) == (len(emitted), False)
    async with database.transaction() as db:
        (message,) = (await db.execute(select(outbox_messages))).all()
    record = AuditRecorded.model_validate_json(message.body)
    assert (record.actor.id, record.act.action) == ("ops-7", "event.restored")


async def test_two_at_once_journal_each_event_once(
    build: Callable[..., Reconciler], stripe: Stripe, database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webhook_gateway.journal.WRITE_SECONDS", 60)  # a busy machine is no database that is down
    emitted = stripe.emit(300)
    before = counted("restored")
    since = datetime.now(UTC) - MONTH_AGO
    other = Journal(url, source=Source.FETCHED)
    await asyncio.gather(*(each.restore(since=since) for each in (build(), build(journal=other))))
    await other.close()
    assert sorted(await journaled(database)) == sorted(emitted)
    assert counted("restored") == before + 300


async def test_only_one_of_several_begins_a_comparison(build: Callable[..., Reconciler], stripe: Stripe) -> None:
    stripe.emit()
    reconcilers = [build(interval=timedelta(hours=1)) for _ in range(3)]
    await asyncio.gather(*(each.reconcile_due() for each in reconcilers))
    assert sum(request.url.path == "/v1/webhook_endpoints" for request in stripe.requests) == 1


async def test_a_comparison_that_failed_is_repeated_from_where_it_began(
    build: Callable[..., Reconciler], stripe: Stripe, database: Database
) -> None:
    stripe.emit()
    before = await row(database)
    await _put_faults(stripe, 1000)
    with pytest.raises(StripeUnavailable):
        await build().reconcile_due()
    await _put_faults(stripe, 0)
    after = await row(database)
    assert (after.reconciled_until, after.completed_at) == (before.reconciled_until, None)
    await build().reconcile_due()
    assert len(await journaled(database)) == 1
    assert (await row(database)).completed_at is not None


async def test_an_event_that_may_still_be_delivered_is_not_lost(
    build: Callable[..., Reconciler], stripe: Stripe, database: Database
) -> None:
    emitted = stripe.emit()
    await build(grace=timedelta(minutes=2)).reconcile_due()
    assert await journaled(database) == []
    later = datetime.now(UTC) + timedelta(minutes=3)
    await build(grace=timedelta(minutes=2), clock=lambda: later).reconcile_due()
    assert await journaled(database) == emitted


async def test_the_sandbox_clock_may_be_ahead(
    build: Callable[..., Reconciler], stripe: Stripe, database: Database
) -> None:
    """Stripe's test clocks are; what they have made older than 30 days is not listed any more."""
    stripe.emit()
    stripe.sandbox.operate_now("/clock/advance", seconds=31 * DAY)
    later = stripe.emit()
    await build(grace=timedelta(minutes=2)).reconcile_due()
    later += stripe.emit()
    await build(grace=timedelta(minutes=2)).reconcile_due()
    assert sorted(await journaled(database)) == sorted(later)


async def test_after_events_of_a_test_clock_those_of_the_present_are_found(
    build: Callable[..., Reconciler], stripe: Stripe, database: Database
) -> None:
    stripe.sandbox.operate_now("/clock/advance", seconds=20 * DAY)
    emitted = stripe.emit()
    await build().reconcile_due()
    emitted += stripe.emit(created_in=timedelta(days=-20))
    await build().reconcile_due()
    assert sorted(await journaled(database)) == sorted(emitted)


async def test_an_event_may_be_listed_late(
    build: Callable[..., Reconciler], stripe: Stripe, database: Database
) -> None:
    emitted = stripe.emit()
    await build().reconcile_due()
    emitted += stripe.emit(created_in=timedelta(minutes=-9))
    await build().reconcile_due()
    assert sorted(await journaled(database)) == sorted(emitted)


async def test_an_event_that_cannot_be_journaled_does_not_stop_the_others(
    build: Callable[..., Reconciler], stripe: Stripe, database: Database
) -> None:
    (other_mode,), emitted = stripe.emit(), stripe.emit(2)
    stripe.sandbox.sandbox.store.get("event", other_mode)["livemode"] = True
    before = counted("refused")
    await build().reconcile_due()
    assert sorted(await journaled(database)) == sorted(emitted)
    assert counted("refused") == before + 1


async def test_nothing_is_logged_if_nothing_is_missing(build: Callable[..., Reconciler], stripe: Stripe) -> None:
    register(stripe)
    stripe.emit()
    reconciler = build()
    await reconciler.reconcile_due()
    with capture_logs() as logs:
        await reconciler.reconcile_due()
    assert logs == []


async def test_a_pause_that_is_longer_than_stripe_remembers_is_logged(
    build: Callable[..., Reconciler], database: Database
) -> None:
    with capture_logs() as logs:
        await build(clock=lambda: datetime.now(UTC) + timedelta(days=1)).reconcile_due()
    assert any("too long ago" in each["event"] for each in logs)


async def test_without_a_key_it_waits_and_logs_an_error(
    build: Callable[..., Reconciler], database: Database, journal: Journal
) -> None:
    fetcher = Fetcher(api_key="", base="http://sandbox", version="")
    reconciler = Reconciler(database, fetcher, journal, origin=Origin(livemode=False), api_version="")
    stop = asyncio.Event()
    with capture_logs() as logs:
        running = asyncio.create_task(reconciler.run(stop))
        await asyncio.sleep(0)
        stop.set()
        await running
    assert [each["log_level"] for each in logs] == ["error"]
    await fetcher.close()


def register(stripe: Stripe, url: str = "https://pay.school.example/api/stripe/webhook", **changed: Any) -> str:
    params: Any = {
        "url": url,
        "enabled_events": sorted(TRANSLATED),
        "api_version": stripe.sandbox.settings.api_version,
        **changed,
    }
    return str(stripe.sandbox.client.v1.webhook_endpoints.create(params).id)


async def test_with_stripe_connect_the_endpoint_is_the_platforms(
    database: Database, journal: Journal, stripe: Stripe
) -> None:
    fetcher = Fetcher(
        api_key=stripe.sandbox.settings.secret_key.get_secret_value(),
        base="http://sandbox",
        version=stripe.sandbox.settings.api_version,
        account="acct_school",
        transport=stripe,
    )
    origin = Origin(livemode=False, account="acct_school")
    await Reconciler(database, fetcher, journal, origin=origin, api_version="").reconcile_due()
    accounts = {request.url.path: request.headers.get("Stripe-Account") for request in stripe.requests}
    assert accounts == {"/v1/events": "acct_school", "/v1/webhook_endpoints": None}
    await fetcher.close()


async def test_the_endpoint_at_stripe_is_checked(build: Callable[..., Reconciler], stripe: Stripe) -> None:
    reconciler = build(webhook_url="https://pay.school.example/api/stripe/webhook")
    with capture_logs() as logs:
        await reconciler.check_endpoint()
    assert (problem("missing"), logs[0]["log_level"], logs[0]["missing"]) == (1, "error", "endpoints: none")
    endpoint = register(stripe)
    await reconciler.check_endpoint()
    assert problem("missing") == 0
    stripe.sandbox.client.v1.webhook_endpoints.update(endpoint, {"disabled": True})
    with capture_logs() as logs:
        await reconciler.check_endpoint()
        await reconciler.check_endpoint()
    assert (problem("disabled"), len(logs)) == (1, 1), "said once"
    await _put_faults(stripe, 1000)
    await reconciler.check_endpoint()
    assert (problem("unreadable"), problem("disabled")) == (1, 0)
    await _put_faults(stripe, 0)


async def _put_faults(stripe: Stripe, limit_requests: int) -> None:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=stripe.sandbox.app), base_url="http://sandbox"
    ) as http:
        (await http.put("/sandbox/api/faults", json={"limit_requests": limit_requests})).raise_for_status()
