"""What of an object at Stripe is compared, and what is no difference."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.webhook_gateway.stripe_events import OUR_METADATA, event, intent, session

from contracts.payments import PaymentEvent
from webhook_gateway.comparison import Comparison, JournaledEvent, compare, index_keys, keys
from webhook_gateway.event import fetched_event
from webhook_gateway.stripe_objects import ObjectKind, Rendering, occurred_at
from webhook_gateway.translate import TRANSLATED, translate

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
RENDERING = Rendering(api_version="2026-10-28.endive", livemode=False, account=None, now=NOW)


def charge(**fields: Any) -> dict[str, Any]:
    return {
        "id": "ch_1",
        "object": "charge",
        "amount": 489_000,
        "amount_captured": 489_000,
        "amount_refunded": 0,
        "captured": True,
        "created": 1_790_000_000,
        "currency": "usd",
        "metadata": OUR_METADATA,
        "payment_intent": "pi_1",
        "status": "succeeded",
        **fields,
    }


def compared(kind: ObjectKind, thing: dict[str, Any], *journaled: dict[str, Any]) -> Comparison:
    """With the events that are found by the keys of the object."""
    found: dict[str, list[JournaledEvent]] = {}
    for each in journaled:
        published = next((p.data for p in translate(each, received_at=NOW) if isinstance(p.data, PaymentEvent)), None)
        for key in index_keys(each):
            found.setdefault(key, []).append(JournaledEvent(object_id=each["data"]["object"]["id"], event=published))
    return compare(kind, thing, {key: found.get(key, []) for key in keys(kind, thing)}, RENDERING)


def missing(comparison: Comparison) -> list[str]:
    return [each["type"] for each in comparison.missing]


@pytest.mark.parametrize(
    ("kind", "thing"),
    [
        (ObjectKind.CHARGE, charge(captured=False, amount_captured=0)),
        (ObjectKind.CHARGE, charge(status="pending", amount_captured=0)),
        (ObjectKind.CHARGE, charge(status="failed", amount_captured=0)),
        (ObjectKind.PAYMENT_INTENT, intent(status="requires_capture", amount_received=0)),
        (ObjectKind.PAYMENT_INTENT, intent(status="requires_action", amount_received=0)),
        (ObjectKind.PAYMENT_INTENT, intent(status="canceled", amount_received=0, metadata={})),
        (ObjectKind.CHECKOUT_SESSION, session(status="open", payment_status="unpaid")),
        (ObjectKind.CHECKOUT_SESSION, session(status="complete", mode="setup", payment_status="no_payment_required")),
        (ObjectKind.CHECKOUT_SESSION, session(status="expired", metadata={}, client_reference_id=None)),
        (ObjectKind.INVOICE, {"id": "in_1", "status": "draft", "amount_paid": 0, "currency": "usd"}),
        (ObjectKind.INVOICE, {"id": "in_1", "status": "paid", "amount_paid": 0, "currency": "usd"}),
        (ObjectKind.SUBSCRIPTION, {"id": "sub_1", "status": "active", "metadata": {}}),
        (ObjectKind.REFUND, {"id": "re_1", "status": "succeeded", "amount": 100, "currency": "usd"}),
        (ObjectKind.BALANCE_TRANSACTION, {"id": "txn_1", "type": "payout", "amount": -100, "currency": "usd"}),
        (ObjectKind.BALANCE_TRANSACTION, {"id": "txn_1", "type": "stripe_fee", "amount": -100, "currency": "usd"}),
    ],
)
def test_what_is_open_or_of_another_product_needs_no_event(kind: ObjectKind, thing: dict[str, Any]) -> None:
    found = compared(kind, thing)
    assert (list(found.missing), found.differences) == ([], [])


def test_a_partial_capture_is_compared_with_what_was_captured() -> None:
    authorized = event("charge.succeeded", charge(captured=False, amount_captured=0))
    captured = event("charge.captured", charge(amount_captured=300_000))
    found = compared(ObjectKind.CHARGE, charge(amount_captured=300_000), authorized, captured)
    assert (found.missing, found.differences) == ([], [])
    assert missing(compared(ObjectKind.CHARGE, charge(amount_captured=300_000), authorized)) == ["charge.succeeded"]


def test_a_charge_that_failed_after_it_had_succeeded_differs() -> None:
    """A bank debit is taken back without a dispute."""
    found = compared(ObjectKind.CHARGE, charge(status="failed"), event("charge.succeeded", charge()))
    assert [(each.name, each.stripe, each.published) for each in found.differences] == [
        ("status", "failed", "succeeded")
    ]


def test_a_refund_that_failed_is_not_refunded() -> None:
    refund = {"id": "re_1", "object": "refund", "charge": "ch_1", "amount": 100, "currency": "usd"}
    events = (
        event("charge.succeeded", charge()),
        event("refund.created", {**refund, "status": "pending"}),
        event("charge.refunded", charge(amount_refunded=100), previous_attributes={"amount_refunded": 0}),
        event("refund.failed", {**refund, "status": "failed"}),
    )
    assert compared(ObjectKind.CHARGE, charge(), *events).differences == []
    failed = compared(ObjectKind.REFUND, {**refund, "status": "failed"}, *events)
    assert (failed.missing, failed.differences) == ([], [])
    assert str(failed.purchase_id) == OUR_METADATA["purchase_id"], "as its charge says"


def test_an_amount_in_the_currency_of_the_balance_is_not_compared() -> None:
    movement = {"id": "txn_1", "type": "charge", "source": "ch_1", "amount": 450_000, "currency": "eur"}
    paid = event("charge.succeeded", charge())
    assert compared(ObjectKind.BALANCE_TRANSACTION, movement, paid).differences == []
    assert compared(ObjectKind.BALANCE_TRANSACTION, {**movement, "currency": "usd"}, paid).differences


def test_the_id_of_an_event_follows_from_the_object_and_its_state() -> None:
    pending = {"id": "re_1", "charge": "ch_1", "status": "pending", "amount": 100, "currency": "usd"}
    found = [
        str(compared(ObjectKind.REFUND, each).missing[0]["id"])
        for each in (pending, dict(pending, created=1_790_000_000), dict(pending, status="succeeded"))
    ]
    assert found[0] == found[1] != found[2]


def test_an_event_contains_ids_and_not_what_was_read_with_the_object() -> None:
    settled = {"id": "txn_1", "created": 1_790_500_000}
    thing = intent(status="succeeded", latest_charge={"id": "ch_1", "balance_transaction": settled})
    (content,) = compared(ObjectKind.PAYMENT_INTENT, thing).missing
    assert content["data"]["object"]["latest_charge"] == "ch_1"
    assert content["created"] == settled["created"], "when a bank debit has settled, not when it was submitted"
    parsed = fetched_event(content)
    assert (parsed.id, parsed.type in TRANSLATED) == ("evt_reconciled_pi_1_succeeded", True)


@pytest.mark.parametrize("kind", [ObjectKind.DISPUTE, ObjectKind.SUBSCRIPTION])
def test_a_state_is_as_of_now(kind: ObjectKind) -> None:
    """An older event that comes later does not replace it."""
    assert occurred_at(kind, {"created": 1_790_000_000}, now=NOW) == NOW
    ahead = int(NOW.timestamp()) + 1000
    assert occurred_at(kind, {"created": ahead}, now=NOW).timestamp() == ahead, "a test clock may be ahead"


@pytest.mark.parametrize("kind", ObjectKind)
@pytest.mark.parametrize("thing", [{}, {"id": 7, "status": []}, {"id": "x_1", "amount": "1", "charge": {"id": None}}])
def test_nothing_that_stripe_may_send_raises(kind: ObjectKind, thing: dict[str, Any]) -> None:
    assert compared(kind, thing).differences == []
