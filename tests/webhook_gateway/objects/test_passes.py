"""How a comparison of objects proceeds: turns, cursors, what is still under way, and what is older than the period."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, select, update
from tests.webhook_gateway.objects.harness import MONTH_AGO, Build, Deliver, published, rows
from tests.webhook_gateway.objects.payments_at_stripe import Payments
from tests.webhook_gateway.stripe_transport import Stripe

from contracts.reconciliation import ReconciliationCompleted
from kit.db.database import Database
from stripe_sandbox.clock import DAY
from stripe_sandbox.flows import balance_transactions
from webhook_gateway.event import decode
from webhook_gateway.fetcher import StripeUnavailable
from webhook_gateway.journal import Journal
from webhook_gateway.redaction import encoded
from webhook_gateway.stripe_objects import LISTINGS
from webhook_gateway.tables import Source, journal_entries, journal_events, object_comparison


async def row(database: Database) -> Any:
    async with database.transaction() as db:
        return (await db.execute(select(object_comparison))).one()


async def journaled(database: Database) -> list[str]:
    async with database.transaction() as db:
        return list(await db.scalars(select(journal_entries.c.event_id)))


async def test_in_the_background_the_next_comparison_is_made_after_the_interval(
    build: Build, payments: Payments, database: Database, stripe: Stripe
) -> None:
    payments.paid()
    reconcilers = [build(interval=timedelta(hours=1)) for _ in range(3)]
    await asyncio.gather(*(each.compare_due() for each in reconcilers))
    after = await row(database)
    assert after.completed_at is not None
    assert after.next_at > datetime.now(UTC) + timedelta(minutes=59)
    assert len([each for each in await published(database) if isinstance(each, ReconciliationCompleted)]) == 1
    lists = [each.url.path for each in stripe.requests if "created[gte]" in each.url.params]
    assert sorted(lists) == sorted(each.path for each in LISTINGS.values()), "one of them has compared"


async def test_what_was_before_bursar_is_not_its_own(build: Build, payments: Payments, database: Database) -> None:
    payments.paid()
    later = datetime.now(UTC) + timedelta(hours=1)
    async with database.transaction() as db:
        await db.execute(update(object_comparison).values(begins_at=later))
    await build().compare_due()
    assert await journaled(database) == []


async def test_a_comparison_that_failed_is_continued_where_it_stands(
    build: Build, payments: Payments, database: Database, stripe: Stripe, deliver: Deliver
) -> None:
    for _ in range(3):
        payments.paid()
    await deliver()

    def fail(request: httpx.Request) -> None:
        if request.url.path == "/v1/charges":
            raise StripeUnavailable("HTTP 503")

    stripe.before = fail
    with pytest.raises(StripeUnavailable):
        await build().compare_due()
    assert (await row(database)).through is not None
    assert (await row(database)).completed_at is None
    stripe.before, done = lambda _: None, len(stripe.requests)
    await build().compare_due()
    read_again = {request.url.path for request in stripe.requests[done:]}
    assert read_again == {"/v1/charges", "/v1/balance_transactions"}
    (completed,) = await published(database)
    assert completed.objects == 3 * len(("session", "intent", "charge", "movement")), "counted in both parts"


async def test_the_cursor_is_that_of_the_last_page(build: Build, payments: Payments, stripe: Stripe) -> None:
    for _ in range(3):
        payments.intent(pay=False)
    oldest, middle, _ = [each["id"] for each in stripe.sandbox.sandbox.store.all("payment_intent")]
    reconciler = build()
    pages = stripe.fetcher.object_pages("/v1/payment_intents", since=MONTH_AGO, after=middle)
    assert [each["id"] async for page in pages for each in page] == [oldest]
    await reconciler.compare_due()


async def test_the_rate_limit_is_waited_for(
    build: Build, payments: Payments, database: Database, stripe: Stripe
) -> None:
    payments.paid()
    stripe.sandbox.sandbox.faults.limit_requests = 3
    await build().compare_due()
    assert len(await journaled(database)) == 3


@pytest.mark.parametrize("until", [None, timedelta(), timedelta(days=39)])
async def test_an_operators_comparison_claims_no_object_that_it_could_not_compare(
    build: Build, database: Database, until: timedelta | None
) -> None:
    """The invariant believes that what was created in the period was compared."""
    now, grace = datetime.now(UTC), timedelta(minutes=2)
    reconciler = build(grace=grace, clock=lambda: now)
    await reconciler.compare_all(since=MONTH_AGO, until=None if until is None else now + until)
    await reconciler.compare_all(since=now - timedelta(days=2), until=now - timedelta(days=1))
    await reconciler.compare_all(since=now)
    young, old, nothing = [each for each in await published(database) if isinstance(each, ReconciliationCompleted)]
    assert young.through == now - grace
    assert old.through == now - timedelta(days=1)
    assert nothing.since == nothing.through


async def test_an_object_that_is_younger_than_the_grace_period_is_not_compared(
    build: Build, payments: Payments, database: Database
) -> None:
    payments.paid()
    result = await build(grace=timedelta(minutes=2)).compare_all(since=MONTH_AGO)
    assert result.objects.total() == 0
    await build(grace=timedelta(minutes=2)).compare_due()
    assert await journaled(database) == []


async def test_what_is_delivered_within_the_grace_period_is_neither_missing_nor_different(
    build: Build, payments: Payments, database: Database, deliver: Deliver, stripe: Stripe
) -> None:
    charge = payments.charge()
    await deliver()
    payments.operate(f"/charges/{charge}/refund", amount=100)
    payments.paid()

    async def arrive() -> None:
        await deliver()

    before = len(await journaled(database))
    result = await build(restore_events=arrive).compare_all(since=MONTH_AGO)
    assert (result.restored.total(), result.differing) == (0, set())
    assert len(await journaled(database)) > before
    assert await rows(database) == []


async def test_what_changes_while_it_is_compared_is_read_again(
    build: Build, payments: Payments, database: Database, deliver: Deliver
) -> None:
    charge = payments.charge()
    payments.operate(f"/charges/{charge}/refund", amount=100)
    await deliver(without=lambda event: "refund" in event["type"])

    async def refund() -> None:
        payments.operate(f"/charges/{charge}/refund", amount=200)
        await deliver()

    result = await build(restore_events=refund).compare_all(since=MONTH_AGO)
    assert result.differing == set()
    assert await rows(database) == []


async def test_two_at_once_restore_each_event_once(
    build: Build, payments: Payments, database: Database, url: str
) -> None:
    for _ in range(5):
        payments.refunded()
    other = Journal(url, source=Source.FETCHED)
    reconcilers = build(), build(journal=other)
    found = await asyncio.gather(*(each.compare_all(since=MONTH_AGO) for each in reconcilers))
    await other.close()
    assert sum(each.restored.total() for each in found) == len(await journaled(database)) == 20
    assert all(each.differing == set() for each in found)


async def test_memory_holds_a_bounded_number_of_objects(build: Build, payments: Payments, database: Database) -> None:
    for _ in range(12):
        payments.intent()
    result = await build(held=5).compare_all(since=MONTH_AGO)
    assert result.restored.total() == 24
    assert result.differing == set()


async def test_a_difference_that_is_older_than_the_period_is_looked_at_again(
    build: Build, payments: Payments, database: Database, stripe: Stripe, deliver: Deliver
) -> None:
    dispute = payments.dispute("lost")
    await deliver()
    stripe.sandbox.sandbox.store.get("dispute", dispute)["status"] = "won"  # of which no event says anything
    await build().compare_all(since=MONTH_AGO)
    ((open_one,)) = await rows(database)
    assert (open_one.object_kind, open_one.field, open_one.closed_at) == ("dispute", "status", None)
    stripe.sandbox.sandbox.store.get("dispute", dispute)["status"] = "lost"
    stripe.sandbox.operate_now("/clock/advance", seconds=60 * DAY)
    later = datetime.now(UTC) + timedelta(days=50)
    await build(clock=lambda: datetime.now(UTC) + timedelta(days=60)).compare_all(since=later)
    ((closed,)) = await rows(database)
    assert closed.closed_at is not None


async def test_money_that_moved_for_a_charge_that_stripe_does_not_have_is_a_difference(
    build: Build, database: Database, stripe: Stripe
) -> None:
    balance_transactions.post(stripe.sandbox.sandbox, "charge", 5_000, "jpy", "ch_unbooked")
    balance_transactions.post(stripe.sandbox.sandbox, "payout", -5_000, "usd", "po_1")
    result = await build().compare_all(since=MONTH_AGO)
    (found,) = await rows(database)
    assert (found.field, found.stripe, found.published) == ("amount", "5000 jpy", None)
    assert found.refs == {"charge": "ch_unbooked"}
    assert len(result.differing) == 1


async def test_what_the_journal_has_dropped_is_not_compared(
    build: Build, payments: Payments, database: Database, deliver: Deliver
) -> None:
    payments.refunded()
    await deliver()
    await build().compare_all(since=MONTH_AGO)
    async with database.transaction() as db:
        await db.execute(delete(journal_events))
    result = await build().compare_all(since=MONTH_AGO)
    assert (result.restored.total(), result.differing) == (0, set())


async def test_what_is_left_of_an_erased_student_is_neither_missing_nor_different(
    build: Build, payments: Payments, database: Database, deliver: Deliver
) -> None:
    payments.all()
    await deliver()
    async with database.transaction() as db:
        for event in await db.execute(select(journal_events.c.event_id, journal_events.c.body)):
            erased = update(journal_events).where(journal_events.c.event_id == event.event_id)
            await db.execute(erased.values(body=encoded(decode(event.body)), source="erased", signature=None))
    result = await build().compare_all(since=MONTH_AGO)
    assert (result.restored, result.differing) == ({}, set())


async def test_objects_of_the_other_mode_are_refused(build: Build, payments: Payments, stripe: Stripe) -> None:
    intent = payments.intent()
    stripe.sandbox.sandbox.store.get("payment_intent", intent)["livemode"] = True
    result = await build().compare_all(since=MONTH_AGO)
    assert result.refused == 1


async def test_attempts_with_stolen_cards_are_not_compared(
    build: Build, payments: Payments, database: Database, deliver: Deliver
) -> None:
    intent = payments.intent(pay=False)
    for _ in range(3):
        payments.operate(f"/payment_intents/{intent}/pay", method="card", card="4000000000000002", email="a@x.org")
    result = await build().compare_all(since=MONTH_AGO)
    assert (result.restored.total(), result.differing) == (0, set())
