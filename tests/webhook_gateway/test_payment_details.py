"""Charges, intents that wait for the payer, disputes, fraud warnings, schedules, customers and mandates."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.webhook_gateway import stripe_events as stripe

from contracts.envelope import Envelope, Event
from contracts.money import Money, usd
from contracts.payments import PaymentEvent, PaymentMethodDetails
from ledger.facts import fold
from webhook_gateway.translate import translate

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def envelopes(type: str, thing: dict[str, Any], **fields: Any) -> list[Envelope[Event]]:
    return translate({**stripe.event(type, thing), **fields}, received_at=NOW)


def translated(type: str, thing: dict[str, Any], **fields: Any) -> Any:  # Any: any event class
    (envelope,) = envelopes(type, thing, **fields)
    return envelope.data


def test_a_charge_reports_the_money_and_how_it_was_paid() -> None:
    event = translated("charge.succeeded", stripe.charge(metadata=stripe.OUR_METADATA, amount_captured=480_000))
    assert (event.amount, event.method) == (usd(480_000), "card")
    assert event.details == PaymentMethodDetails(type="card", brand="visa", last4="4242", wallet="apple_pay")
    assert (event.refs.of_payment(), event.refs.customer) == ({"ch_1", "pi_1"}, "cus_1")


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        (
            {"type": "us_bank_account", "us_bank_account": {"bank_name": "STRIPE TEST BANK", "last4": "6789"}},
            PaymentMethodDetails(type="us_bank_account", bank="STRIPE TEST BANK", last4="6789"),
        ),
        ({"type": "ideal", "ideal": {"bank": "ing"}}, PaymentMethodDetails(type="ideal", bank="ing")),
        ({"type": "klarna", "klarna": {"payment_method_category": "pay_later"}}, PaymentMethodDetails(type="klarna")),
        ({"type": "link"}, PaymentMethodDetails(type="link")),
        ({"type": "card", "card": {"last4": "424242", "brand": 7}}, PaymentMethodDetails(type="card")),
        ({"type": "card", "card": "visa"}, PaymentMethodDetails(type="card")),
        ({"card": {"brand": "visa"}}, None),
        (None, None),
    ],
)
def test_the_details_of_a_payment_method(details: object, expected: PaymentMethodDetails | None) -> None:
    event = translated("charge.succeeded", stripe.charge(payment_method_details=details))
    assert event.details == expected
    assert event.method == (expected.type if expected else None)


@pytest.mark.parametrize("fields", [{"captured": False, "amount_captured": 0}, {"captured": False}, {"captured": None}])
def test_a_charge_that_is_only_authorized_is_not_received(fields: dict[str, Any]) -> None:
    assert envelopes("charge.succeeded", stripe.charge(metadata=stripe.OUR_METADATA, **fields)) == []


def test_a_bank_debit_that_is_pending_is_not_received() -> None:
    assert envelopes("charge.pending", stripe.charge(status="pending")) == []


def test_a_charge_and_its_intent_are_one_payment() -> None:
    facts: dict[str, PaymentEvent] = {
        "a": translated("charge.succeeded", stripe.charge()),
        "b": translated("payment_intent.succeeded", stripe.intent(metadata=stripe.OUR_METADATA)),
    }
    (purchase,) = fold(facts)
    (payment,) = purchase.payments
    assert payment.settled == usd(489_000)


@pytest.mark.parametrize(
    ("type", "thing"),
    [
        ("checkout.session.completed", stripe.session()),
        ("payment_intent.succeeded", stripe.intent()),
        ("payment_intent.payment_failed", stripe.intent()),
        ("charge.succeeded", stripe.charge()),
        ("charge.refunded", stripe.charge()),
        ("invoice.paid", stripe.invoice()),
        ("invoice.payment_failed", stripe.invoice(customer={"id": "cus_1", "object": "customer"})),
        ("customer.subscription.updated", stripe.subscription()),
        ("subscription_schedule.released", stripe.schedule()),
    ],
)
def test_events_name_the_customer_who_paid(type: str, thing: dict[str, Any]) -> None:
    refs = translated(type, thing).refs
    assert refs.customer == "cus_1"
    assert "cus_1" not in refs.of_payment()


@pytest.mark.parametrize("created", [None, "1790000000", -1, 10**20, True])
@pytest.mark.parametrize(
    ("type", "thing"), [("charge.succeeded", stripe.charge()), ("refund.updated", stripe.refund())]
)
def test_an_invalid_time_is_none(type: str, thing: dict[str, Any], created: object) -> None:
    """If the time of receipt replaced it, no later state could supersede this one."""
    assert translated(type, thing, created=created).as_of is None


def test_the_discount_of_a_session_is_no_shortfall() -> None:
    details = {"amount_discount": 48_900, "amount_tax": 0}
    event = translated("checkout.session.completed", stripe.session(amount_total=440_100, total_details=details))
    assert (event.amount, event.discount) == (usd(440_100), usd(48_900))
    free = stripe.session(amount_total=0, payment_status="no_payment_required", total_details={"amount_discount": 5})
    assert translated("checkout.session.completed", free).discount == usd(5)


ACTIONS: list[tuple[object, str, str | None]] = [
    (
        {
            "type": "verify_with_microdeposits",
            "verify_with_microdeposits": {"hosted_verification_url": "https://payments.stripe.com/m/1"},
        },
        "verify_bank_account",
        "https://payments.stripe.com/m/1",
    ),
    (
        {"type": "redirect_to_url", "redirect_to_url": {"url": "https://hooks.stripe.com/3ds"}},
        "authenticate",
        "https://hooks.stripe.com/3ds",
    ),
    ({"type": "use_stripe_sdk", "use_stripe_sdk": {}}, "authenticate", None),
    (
        {
            "type": "display_bank_transfer_instructions",
            "display_bank_transfer_instructions": {"hosted_instructions_url": "https://payments.stripe.com/b/1"},
        },
        "other",
        "https://payments.stripe.com/b/1",
    ),
    ({"type": "verify_with_microdeposits"}, "verify_bank_account", None),
    ({"type": 7}, "other", None),
    (None, "other", None),
]


@pytest.mark.parametrize(("action", "expected", "page"), ACTIONS)
def test_an_intent_names_what_the_payer_has_to_do(action: object, expected: str, page: str | None) -> None:
    event = translated("payment_intent.requires_action", stripe.intent(next_action=action))
    assert (event.action, event.url, event.amount) == (expected, page, usd(489_000))


@pytest.mark.parametrize(
    ("status", "type"),
    [
        ("lost", "payment.dispute_closed.v1"),
        ("appeal_needs_response", "payment.dispute_opened.v1"),
        ("appeal_under_review", "payment.dispute_opened.v1"),
        ("won", "payment.dispute_closed.v1"),
    ],
)
def test_an_appeal_opens_a_dispute_again(status: str, type: str) -> None:
    event = translated("charge.dispute.updated", stripe.dispute(status=status))
    assert (event.type, event.status, event.as_of) == (type, status, datetime.fromtimestamp(1_790_000_000, UTC))


@pytest.mark.parametrize(
    ("fields", "fraud_type", "actionable"),
    [
        ({}, "made_with_stolen_card", True),
        ({"actionable": False}, "made_with_stolen_card", False),
        ({"fraud_type": None, "actionable": None}, "misc", True),
    ],
)
def test_a_fraud_warning_names_the_payment(fields: dict[str, Any], fraud_type: str, actionable: bool) -> None:
    event = translated("radar.early_fraud_warning.created", stripe.fraud_warning(**fields))
    assert (event.fraud_type, event.actionable) == (fraud_type, actionable)
    assert event.refs.of_payment() == {"ch_1", "pi_1"}


@pytest.mark.parametrize(
    ("type", "fields", "outcome"),
    [
        ("released", {"subscription": None, "released_subscription": "sub_1"}, "released"),
        ("canceled", {}, "canceled"),
        ("aborted", {}, "aborted"),
    ],
)
def test_a_schedule_that_ended_names_its_subscription(type: str, fields: dict[str, Any], outcome: str) -> None:
    """That is all: consumers find the plan by what its subscription has in common with it."""
    event = translated(f"subscription_schedule.{type}", stripe.schedule(**fields))
    assert (event.outcome, event.refs.subscription, event.purchase_id) == (outcome, "sub_1", None)
    paid = translated("invoice.paid", stripe.invoice())
    (purchase,) = fold({"a": event, "b": paid})
    assert purchase.id == paid.purchase_id


def test_the_metadata_of_a_schedule_or_of_its_phases_names_the_purchase() -> None:
    phases = stripe.schedule(phases=[{"metadata": stripe.OUR_METADATA}, {"metadata": None}, 7])
    own = stripe.schedule(metadata=stripe.OUR_METADATA)
    for thing in (phases, own):
        event = translated("subscription_schedule.canceled", thing)
        assert str(event.purchase_id) == stripe.OUR_METADATA["purchase_id"]


def test_a_schedule_that_never_started_ended_nothing() -> None:
    thing = stripe.schedule(subscription=None, metadata=stripe.OUR_METADATA)
    assert envelopes("subscription_schedule.canceled", thing) == []


def test_a_deleted_customer_is_named() -> None:
    (envelope,) = envelopes("customer.deleted", stripe.customer())
    assert envelope.data.customer == envelope.subject == "cus_1"  # type: ignore[attr-defined]


@pytest.mark.parametrize("status", ["active", "pending", None])
def test_only_an_inactive_mandate_is_revoked(status: object) -> None:
    event = translated("mandate.updated", stripe.mandate())
    assert (event.mandate, event.payment_method) == ("mandate_1", "pm_1")
    assert envelopes("mandate.updated", stripe.mandate(status=status)) == []


@pytest.mark.parametrize("type", ["customer.deleted", "mandate.updated", "radar.early_fraud_warning.created"])
def test_an_object_without_ids_is_ignored(type: str) -> None:
    assert envelopes(type, {"status": "inactive", "fraud_type": "misc"}) == []


def test_amounts_are_in_the_objects_currency() -> None:
    event = translated("charge.succeeded", stripe.charge(currency="JPY", amount_captured=700))
    assert event.amount == Money(amount=700, currency="jpy")
