"""translate: one Stripe event to one of our events or none, for any JSON object, without exceptions."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.webhook_gateway import stripe_events as stripe

from contracts.envelope import Event, parse
from contracts.money import usd
from contracts.payments import (
    CustomerDeleted,
    MandateRevoked,
    PaymentActionRequired,
    PaymentDisputeClosed,
    PaymentDisputeOpened,
    PaymentEvent,
    PaymentExpired,
    PaymentFailed,
    PaymentFraudWarned,
    PaymentPending,
    PaymentRefunded,
    PaymentSucceeded,
    SubscriptionChanged,
    SubscriptionScheduleEnded,
)
from contracts.people import purchase_uuid
from contracts.registry import EVENT_TYPES
from webhook_gateway.translate import TRANSLATED, translate

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def translated(event: dict[str, Any]) -> Any:  # Any: the tests read the fields of the event class they expect
    envelopes = translate(event, received_at=NOW)
    assert len(envelopes) <= 1
    return envelopes[0].data if envelopes else None


EXPECTED: list[tuple[str, dict[str, Any], type[Event]]] = [
    ("checkout.session.completed", stripe.session(), PaymentSucceeded),
    (
        "checkout.session.completed",
        stripe.session(payment_status="no_payment_required", amount_total=0),
        PaymentSucceeded,
    ),
    ("checkout.session.completed", stripe.session(payment_status="unpaid"), PaymentPending),
    ("checkout.session.async_payment_succeeded", stripe.session(), PaymentSucceeded),
    ("checkout.session.async_payment_failed", stripe.session(payment_status="unpaid"), PaymentFailed),
    ("checkout.session.expired", stripe.session(payment_status="unpaid", payment_intent=None), PaymentExpired),
    ("payment_intent.succeeded", stripe.intent(), PaymentSucceeded),
    ("payment_intent.payment_failed", stripe.intent(), PaymentFailed),
    ("payment_intent.processing", stripe.intent(), PaymentPending),
    ("payment_intent.canceled", stripe.intent(), PaymentFailed),
    ("payment_intent.requires_action", stripe.intent(), PaymentActionRequired),
    ("charge.succeeded", stripe.charge(), PaymentSucceeded),
    ("charge.captured", stripe.charge(), PaymentSucceeded),
    ("invoice.paid", stripe.invoice(), PaymentSucceeded),
    ("invoice.overpaid", stripe.invoice(amount_overpaid=100), PaymentSucceeded),
    ("invoice.payment_failed", stripe.invoice(), PaymentFailed),
    ("invoice.payment_action_required", stripe.invoice(amount_paid=0), PaymentActionRequired),
    ("invoice.finalization_failed", stripe.invoice(amount_paid=0), PaymentFailed),
    ("invoice.marked_uncollectible", stripe.invoice(amount_paid=0), PaymentFailed),
    ("invoice.voided", stripe.invoice(amount_paid=0), PaymentExpired),
    ("invoice_payment.paid", stripe.invoice_payment(), PaymentSucceeded),
    ("customer.subscription.created", stripe.subscription(), SubscriptionChanged),
    ("customer.subscription.updated", stripe.subscription(status="past_due"), SubscriptionChanged),
    ("customer.subscription.deleted", stripe.subscription(status="canceled"), SubscriptionChanged),
    ("customer.subscription.paused", stripe.subscription(status="paused"), SubscriptionChanged),
    ("customer.subscription.resumed", stripe.subscription(), SubscriptionChanged),
    ("subscription_schedule.released", stripe.schedule(), SubscriptionScheduleEnded),
    ("subscription_schedule.canceled", stripe.schedule(), SubscriptionScheduleEnded),
    ("subscription_schedule.aborted", stripe.schedule(), SubscriptionScheduleEnded),
    ("customer.deleted", stripe.customer(), CustomerDeleted),
    ("mandate.updated", stripe.mandate(), MandateRevoked),
    ("charge.refunded", stripe.charge(), PaymentRefunded),
    ("refund.created", stripe.refund(), PaymentRefunded),
    ("refund.updated", stripe.refund(), PaymentRefunded),
    ("refund.failed", stripe.refund(status="failed"), PaymentRefunded),
    ("charge.dispute.created", stripe.dispute(), PaymentDisputeOpened),
    ("charge.dispute.updated", stripe.dispute(status="under_review"), PaymentDisputeOpened),
    ("charge.dispute.updated", stripe.dispute(status="appeal_needs_response"), PaymentDisputeOpened),
    ("charge.dispute.updated", stripe.dispute(status="appeal_under_review"), PaymentDisputeOpened),
    ("charge.dispute.closed", stripe.dispute(status="lost"), PaymentDisputeClosed),
    ("charge.dispute.funds_withdrawn", stripe.dispute(), PaymentDisputeOpened),
    ("charge.dispute.funds_reinstated", stripe.dispute(status="won"), PaymentDisputeClosed),
    ("radar.early_fraud_warning.created", stripe.fraud_warning(), PaymentFraudWarned),
]


@pytest.mark.parametrize(
    ("type", "thing", "expected"), EXPECTED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_each_type_translates_to_one_event(type: str, thing: dict[str, Any], expected: type[Event]) -> None:
    (envelope,) = translate(stripe.event(type, thing, id="evt_1"), received_at=NOW)
    assert isinstance(envelope.data, expected)
    assert envelope.subject != "unknown"
    if isinstance(envelope.data, PaymentEvent):
        assert envelope.data.as_of == datetime.fromtimestamp(1_790_000_000, UTC)
    assert envelope.id == f"evt_1/{expected.type}"
    assert envelope.time == datetime.fromtimestamp(1_790_000_000, UTC)
    assert parse(envelope.headers(), envelope.body(), EVENT_TYPES).data == envelope.data


def test_every_translated_type_is_tested() -> None:
    assert {type for type, _, _ in EXPECTED} == TRANSLATED


@pytest.mark.parametrize("type", ["product.created", "customer.created", "payment_intent.created", "account.updated"])
def test_other_types_are_ignored(type: str) -> None:
    assert translated(stripe.event(type, stripe.intent())) is None


def test_a_student_and_a_program_are_enough_metadata() -> None:
    by_intent = translated(stripe.event("payment_intent.succeeded", stripe.intent()))
    by_session = translated(stripe.event("checkout.session.completed", stripe.session()))
    assert by_intent.purchase_id == by_session.purchase_id == purchase_uuid("pi_1")
    assert by_intent.student_id == UUID(stripe.STUDENT)
    assert (by_intent.program.slug, by_intent.program.id) == ("barber-apprenticeship", "prog_1")
    assert by_session.contact.email == "ann@example.com"


def test_purchase_ids_are_derived_from_the_subscription_or_a_free_session() -> None:
    sub = stripe.session(mode="subscription", payment_intent=None, subscription="sub_1", invoice="in_1")
    free = stripe.session(payment_intent=None, payment_status="no_payment_required", amount_total=0)
    assert translated(stripe.event("checkout.session.completed", sub)).purchase_id == purchase_uuid("sub_1")
    assert translated(stripe.event("invoice.paid", stripe.invoice())).purchase_id == purchase_uuid("sub_1")
    assert translated(stripe.event("checkout.session.completed", free)).purchase_id == purchase_uuid("cs_test_1")


def test_our_own_metadata_has_the_purchase_id() -> None:
    event = translated(stripe.event("payment_intent.succeeded", stripe.intent(metadata=stripe.OUR_METADATA)))
    assert str(event.purchase_id) == stripe.OUR_METADATA["purchase_id"]
    assert event.program.provider == "milady"
    assert event.payer == "student"


def test_a_funding_source_implies_a_sponsor() -> None:
    funded = {**stripe.SEED_METADATA, "funding_source": "WIOA"}
    event = translated(stripe.event("payment_intent.succeeded", stripe.intent(metadata=funded)))
    assert (event.payer, event.funding_source) == ("sponsor", "WIOA")


def test_a_refund_of_nothing_is_no_refund() -> None:
    """Checkout could not store one, and no later event of its payment could be handled."""
    nothing = stripe.event("refund.created", stripe.refund(amount=0))
    assert translate(nothing, received_at=datetime.now(UTC)) == []


def test_refunds_and_disputes_need_no_metadata() -> None:
    event = translated(stripe.event("charge.refunded", stripe.charge(), previous_attributes={"amount_refunded": 1_000}))
    assert (event.total, event.before, event.of) == (usd(489_000), usd(1_000), usd(489_000))
    assert event.refs.of_payment() == {"ch_1", "pi_1"}
    assert event.purchase_id is None
    opened = translated(stripe.event("charge.dispute.created", stripe.dispute()))
    assert opened.evidence_due_by == datetime.fromtimestamp(1_791_000_000, UTC)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
NUMBERS = st.integers().map(str) | st.text("0123456789٣²", max_size=40)
SAMPLES = [thing for _, thing, _ in EXPECTED] + [
    stripe.session(metadata=stripe.BUNDLE_METADATA),
    stripe.intent(metadata=stripe.BUNDLE_METADATA),
    stripe.invoice(metadata=stripe.BUNDLE_METADATA, total_taxes=[{"amount": 7, "type": "tax_rate_details"}], tax=7),
    stripe.subscription(metadata=stripe.BUNDLE_METADATA, pause_collection={"behavior": "void", "resumes_at": None}),
    stripe.invoice(payments=stripe.payments(stripe.invoice_payment()), starting_balance=-5, ending_balance=7),
    stripe.intent(next_action={"type": "redirect_to_url", "redirect_to_url": {"url": "https://bank.example.com"}}),
    stripe.schedule(phases=[{"metadata": stripe.BUNDLE_METADATA}]),
    stripe.session(metadata={"userId": "u1", "courseId": "c1", "track": "DP"}, client_reference_id="u2"),
]
NAMES = sorted({*stripe.BUNDLE_METADATA, "userId", "courseId", "track", "due", "program_untaught"})


@given(type=st.sampled_from(sorted(TRANSLATED)), thing=JSON, data=JSON)
def test_any_json_translates_without_exceptions(type: str, thing: Any, data: Any) -> None:
    for object in (
        thing,
        {"id": "x_1", "currency": "usd", "amount": 1, "charge": "ch_1", "metadata": thing, "phases": data},
    ):
        event = {"id": "evt_1", "type": type, "data": {"object": object, "previous_attributes": data}}
        translate(event, received_at=NOW)
    translate({"id": thing, "type": type, "data": data, "created": thing}, received_at=NOW)


@given(type=st.sampled_from(sorted(TRANSLATED)), sample=st.sampled_from(SAMPLES), data=st.data())
def test_any_field_may_have_any_value(type: str, sample: dict[str, Any], data: st.DataObject) -> None:
    """A real object with some fields replaced by arbitrary JSON: all that is translated can be sent."""
    changed = dict(sample)
    for name in data.draw(st.lists(st.sampled_from(sorted(sample)), max_size=4)):
        inner = sample[name]
        if isinstance(inner, dict) and inner and data.draw(st.booleans()):
            changed[name] = {**inner, data.draw(st.sampled_from(sorted(inner))): data.draw(JSON)}
        else:
            changed[name] = data.draw(JSON)
    if isinstance(changed.get("metadata"), dict):
        changed["metadata"] = {
            **changed["metadata"],
            **data.draw(st.dictionaries(st.sampled_from(NAMES), JSON | JSON.map(json.dumps) | NUMBERS, max_size=4)),
        }
    for envelope in translate(stripe.event(type, changed), received_at=NOW):
        body = envelope.body()
        assert b"\\u0000" not in body
        assert parse(envelope.headers(), body, EVENT_TYPES).data == envelope.data


def test_lone_surrogates_and_nul_are_removed() -> None:
    hostile = json.loads('{"student_id": "s\\ud800\\u0000x", "program_slug": "p\\u0000", "program_id": "\\udfff"}')
    (envelope,) = translate(stripe.event("payment_intent.succeeded", stripe.intent(metadata=hostile)), received_at=NOW)
    assert b"\x00" not in envelope.body()
    assert envelope.data.program.slug == "p"  # type: ignore[attr-defined]
