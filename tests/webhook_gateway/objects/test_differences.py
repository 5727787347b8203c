"""Stripe's objects are compared with the journal: what is missing is journaled, what differs is recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, update
from structlog.testing import capture_logs
from tests.metrics import total
from tests.webhook_gateway.objects.harness import MONTH_AGO, Build, Deliver, published, rows
from tests.webhook_gateway.objects.payments_at_stripe import Payments
from tests.webhook_gateway.stripe_transport import Stripe

from contracts.payments import PaymentEvent
from contracts.reconciliation import ReconciliationDifferenceFound, ReconciliationDifferenceResolved
from kit.db.database import Database
from ledger.facts import Facts, fold
from ledger.verdict import verdicts
from stripe_sandbox.clock import DAY
from webhook_gateway.differences import Differences
from webhook_gateway.event import parse_event
from webhook_gateway.journal import Journal
from webhook_gateway.stripe_objects import ObjectKind
from webhook_gateway.tables import journal_events
from webhook_gateway.translate import translate


async def facts(database: Database) -> Facts:
    """What is published of the journal."""
    async with database.transaction() as db:
        rows = (await db.execute(select(journal_events.c.body, journal_events.c.received_at))).all()
    found = [each for row in rows for each in translate(json.loads(row.body), received_at=row.received_at)]
    return {each.id: each.data for each in found if isinstance(each.data, PaymentEvent)}


def money(facts: Facts) -> list[Any]:
    """What receipts and enrollments follow from."""
    payments = [
        (
            sorted(payment.refs),
            payment.settled,
            payment.refunded,
            dict(payment.disputes),
            payment.lost_amount,
            payment.net,
            payment.tax,
        )
        for purchase in fold(facts)
        for payment in purchase.payments
        if payment.settled is not None or payment.disputes
    ]
    standings = [(pair, each.standing, each.reason) for pair, each in verdicts(facts).items()]
    return [sorted(payments, key=str), standings]


async def test_what_was_delivered_is_neither_missing_nor_different(
    build: Build, payments: Payments, deliver: Deliver, database: Database
) -> None:
    payments.all()
    await deliver()
    result = await build().compare_all(since=MONTH_AGO)
    assert result.differing == set()
    assert result.restored.total() == result.refused == 0, result
    assert set(result.objects) == set(ObjectKind), result
    (completed,) = await published(database)
    assert (completed.objects, completed.restored, completed.differences) == (result.objects.total(), 0, 0)


async def test_what_is_older_than_stripes_events_is_journaled_from_its_objects(
    build: Build, payments: Payments, deliver: Deliver, database: Database, stripe: Stripe
) -> None:
    payments.all()
    stripe.sandbox.operate_now("/clock/advance", seconds=31 * DAY)
    before = total("bursar_stripe_objects_total", outcome="restored")
    result = await build().compare_all(since=MONTH_AGO)
    assert result.differing == set()
    assert total("bursar_stripe_objects_total", outcome="restored") == before + result.restored.total() > before
    restored = money(await facts(database))
    again = await build().compare_all(since=MONTH_AGO)
    assert (again.restored.total(), again.differing) == (0, set()), again

    assert await deliver() > 50, "the events of the month come after all"
    assert money(await facts(database)) == restored
    assert (await build().compare_all(since=MONTH_AGO)).differing == set()


def changed(type: str, **fields: Any) -> Callable[[dict[str, Any]], None]:
    def change(event: dict[str, Any]) -> None:
        if event["type"] == type:
            event["data"]["object"].update(fields)

    return change


def received(event: dict[str, Any]) -> dict[str, Any]:
    return {**event["data"]["object"], "amount_received": 57_500}


CASES: dict[str, tuple[Callable[[Payments], object], Callable[[dict[str, Any]], None], dict[tuple[str, str], Any]]] = {
    "amount of a charge": (
        Payments.charge,
        changed("charge.succeeded", amount_captured=480_000),
        {
            ("charge", "amount"): ("489000 usd", "480000 usd"),
            ("balance_transaction", "amount"): ("489000 usd", "480000 usd"),
        },
    ),
    "currency of an intent": (
        Payments.intent,
        changed("payment_intent.succeeded", currency="eur"),
        {("payment_intent", "amount"): ("57500 usd", "57500 eur")},
    ),
    "amount of a session": (
        Payments.paid,
        changed("checkout.session.completed", amount_total=1),
        {("checkout_session", "amount"): ("489000 usd", "1 usd")},
    ),
    "amount of an invoice": (
        Payments.invoice,
        changed("invoice.paid", amount_paid=57_501),
        {("invoice", "amount"): ("57500 usd", "57501 usd")},
    ),
    "status of a refund": (
        lambda payments: payments.refunded(10_000, "pending"),
        changed("refund.created", status="succeeded"),
        {("refund", "status"): ("pending", "succeeded")},
    ),
    "cumulative refund": (
        Payments.refunded,
        changed("charge.refunded", amount_refunded=489_001),
        {("charge", "refunded"): ("489000 usd", "489001 usd")},
    ),
    "status of a dispute": (
        lambda payments: payments.dispute("won"),
        lambda event: event["data"]["object"].update(status="lost") if "dispute" in event["type"] else None,
        {("dispute", "status"): ("won", "lost")},
    ),
    "status of a subscription": (
        Payments.membership,
        lambda event: event["data"]["object"].update(status="past_due") if "subscription" in event["type"] else None,
        {("subscription", "status"): ("active", "past_due")},
    ),
    "an intent that was not paid": (
        lambda payments: payments.intent(pay=False),
        lambda event: event.update(type="payment_intent.succeeded", data={"object": received(event)}),
        {("payment_intent", "status"): ("requires_payment_method", "succeeded")},
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_what_differs_is_found_with_both_sides_and_resolved_when_it_agrees(
    build: Build,
    payments: Payments,
    deliver: Deliver,
    database: Database,
    stripe: Stripe,
    journal: Journal,
    case: str,
) -> None:
    make, change, expected = CASES[case]
    make(payments)
    right = [webhook.body.encode() for webhook in stripe.sandbox.take()]
    wrong = []
    for body in right:
        event = json.loads(body)
        change(event)
        wrong.append(json.dumps(event).encode())
    for body in wrong:
        await journal.write(parse_event(body))
    with capture_logs() as logs:
        result = await build().compare_all(since=MONTH_AGO)
        await build().compare_all(since=MONTH_AGO)
    assert {(kind, id) for kind, id in result.differing} == {
        (each.object_kind, each.object_id) for each in await rows(database)
    }
    found = {(each.object_kind, each.field): (each.stripe, each.published) for each in await rows(database)}
    assert found == expected
    events = [each for each in await published(database) if isinstance(each, ReconciliationDifferenceFound)]
    assert {(each.object_kind, each.field): (each.stripe, each.published) for each in events} == expected
    assert len(events) == len(expected), "published once"
    assert sum(each["log_level"] == "error" for each in logs) == len(expected), "logged once"
    assert all(each.purchase_id or each.object_kind == "balance_transaction" for each in events)
    assert result.restored.total() == 0, "nothing is changed silently"
    assert await Differences(database).measure() == total("bursar_stripe_differences") == len(expected)

    async with database.transaction() as db:  # the journal is right after all
        for body in right:
            id = json.loads(body)["id"]
            await db.execute(update(journal_events).where(journal_events.c.event_id == id).values(body=body))
    with capture_logs() as logs:
        again = await build().compare_all(since=MONTH_AGO)
    assert again.differing == set()
    assert all(each.closed_at is not None and each.revision == 2 for each in await rows(database))
    assert await Differences(database).measure() == total("bursar_stripe_differences") == 0
    resolved = [each for each in await published(database) if isinstance(each, ReconciliationDifferenceResolved)]
    assert {(each.object_kind, each.field) for each in resolved} == set(expected)
    assert all(each.stripe == each.published or each.stripe is None for each in resolved)
