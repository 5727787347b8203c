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

from contracts.envelope import parse
from contracts.money import usd
from contracts.payments import (
    PaymentDisputeClosed,
    PaymentDisputeOpened,
    PaymentEvent,
    PaymentExpired,
    PaymentFailed,
    PaymentPending,
    PaymentRefunded,
    PaymentSucceeded,
    SubscriptionChanged,
)
from contracts.people import purchase_uuid
from contracts.registry import EVENT_TYPES
from webhook_gateway.translate import TRANSLATED, translate

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def translated(event: dict[str, Any]) -> Any:  # Any: the tests read the fields of the event class they expect
    envelopes = translate(event, received_at=NOW)
    assert len(envelopes) <= 1
    return envelopes[0].data if envelopes else None


EXPECTED: list[tuple[str, dict[str, Any], type[PaymentEvent]]] = [
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
    ("invoice.paid", stripe.invoice(), PaymentSucceeded),
    ("invoice.payment_failed", stripe.invoice(), PaymentFailed),
    ("invoice.voided", stripe.invoice(amount_paid=0), PaymentExpired),
    ("customer.subscription.created", stripe.subscription(), SubscriptionChanged),
    ("customer.subscription.updated", stripe.subscription(status="past_due"), SubscriptionChanged),
    ("customer.subscription.deleted", stripe.subscription(status="canceled"), SubscriptionChanged),
    ("customer.subscription.paused", stripe.subscription(status="paused"), SubscriptionChanged),
    ("customer.subscription.resumed", stripe.subscription(), SubscriptionChanged),
    ("charge.refunded", stripe.charge(), PaymentRefunded),
    ("refund.updated", stripe.refund(), PaymentRefunded),
    ("refund.failed", stripe.refund(status="failed"), PaymentRefunded),
    ("charge.dispute.created", stripe.dispute(), PaymentDisputeOpened),
    ("charge.dispute.updated", stripe.dispute(status="under_review"), PaymentDisputeOpened),
    ("charge.dispute.closed", stripe.dispute(status="lost"), PaymentDisputeClosed),
    ("charge.dispute.funds_withdrawn", stripe.dispute(), PaymentDisputeOpened),
    ("charge.dispute.funds_reinstated", stripe.dispute(status="won"), PaymentDisputeClosed),
]


@pytest.mark.parametrize(
    ("type", "thing", "expected"), EXPECTED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_each_type_translates_to_one_event(type: str, thing: dict[str, Any], expected: type[PaymentEvent]) -> None:
    (envelope,) = translate(stripe.event(type, thing, id="evt_1"), received_at=NOW)
    assert isinstance(envelope.data, expected)
    assert envelope.id == f"evt_1/{expected.type}"
    assert envelope.time == datetime.fromtimestamp(1_790_000_000, UTC)
    assert parse(envelope.headers(), envelope.body(), EVENT_TYPES).data == envelope.data


def test_every_translated_type_is_tested() -> None:
    assert {type for type, _, _ in EXPECTED} | {"refund.created", "invoice_payment.paid"} == TRANSLATED


@pytest.mark.parametrize("type", ["product.created", "customer.created", "payment_intent.created", "account.updated"])
def test_other_types_are_ignored(type: str) -> None:
    assert translated(stripe.event(type, stripe.intent())) is None


@pytest.mark.parametrize(
    ("type", "thing"),
    [
        ("checkout.session.completed", stripe.session(metadata={"order": "1"})),
        ("payment_intent.succeeded", stripe.intent(metadata={})),
        ("invoice.paid", stripe.invoice(parent=None)),
        ("customer.subscription.updated", stripe.subscription(metadata={"student_id": "only"})),
    ],
)
def test_objects_without_our_metadata_are_ignored(type: str, thing: dict[str, Any]) -> None:
    assert translated(stripe.event(type, thing)) is None


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


def test_old_and_new_invoice_shapes_translate_alike() -> None:
    old = stripe.invoice(
        parent=None,
        subscription="sub_1",
        payment_intent="pi_9",
        charge="ch_9",
        subscription_details={"metadata": {**stripe.SEED_METADATA, "installments": "4"}},
    )
    new = stripe.invoice(payments={"data": [{"payment": {"payment_intent": "pi_9", "charge": "ch_9"}}]})
    assert translated(stripe.event("invoice.paid", old)) == translated(stripe.event("invoice.paid", new))
    event = translated(stripe.event("invoice.paid", new))
    assert (event.refs.subscription, event.refs.payment_intent, event.installments) == ("sub_1", "pi_9", 4)


def test_only_the_last_automatic_retry_is_final() -> None:
    retrying = stripe.invoice(next_payment_attempt=1_790_100_000, attempt_count=2)
    last = stripe.invoice(attempt_count=4)
    sent = stripe.invoice(collection_method="send_invoice")
    finals = [translated(stripe.event("invoice.payment_failed", each)).final for each in (retrying, last, sent)]
    assert finals == [False, True, False]


@pytest.mark.parametrize(
    ("hosted_invoice_url", "pay_url"),
    [
        ("https://invoice.stripe.com/i/acct_1/in_1?s=ap", "https://invoice.stripe.com/i/acct_1/in_1?s=ap"),
        (" http://127.0.0.1:12111/i/in_1\x00 ", "http://127.0.0.1:12111/i/in_1"),
        ("https://x/" + "y" * 1990, "https://x/" + "y" * 1990),
        ("https://x/" + "y" * 1991, None),
        ("https://x/ https://evil.example.com", None),
        ("https://x/\r\nBcc: all@example.com", None),
        ("javascript:alert(1)", None),
        ("HTTPS//x", None),
        ("", None),
        (None, None),
        (7, None),
        ({"url": "https://x"}, None),
    ],
)
def test_a_failed_invoice_has_its_payment_page(hosted_invoice_url: object, pay_url: str | None) -> None:
    event = translated(stripe.event("invoice.payment_failed", stripe.invoice(hosted_invoice_url=hosted_invoice_url)))
    assert event.pay_url == pay_url


def test_a_failure_without_an_invoice_has_no_payment_page() -> None:
    assert translated(stripe.event("invoice.payment_failed", stripe.invoice())).pay_url is None
    assert translated(stripe.event("payment_intent.payment_failed", stripe.intent())).pay_url is None


def test_refunds_and_disputes_need_no_metadata() -> None:
    event = translated(stripe.event("charge.refunded", stripe.charge(), previous_attributes={"amount_refunded": 1_000}))
    assert (event.total, event.before, event.of) == (usd(489_000), usd(1_000), usd(489_000))
    assert event.refs.of_payment() == {"ch_1", "pi_1"}
    assert event.purchase_id is None
    opened = translated(stripe.event("charge.dispute.created", stripe.dispute()))
    assert opened.evidence_due_by == datetime.fromtimestamp(1_791_000_000, UTC)


def test_an_invoice_payment_links_an_intent_to_its_invoice() -> None:
    link = {
        "id": "inpay_1",
        "object": "invoice_payment",
        "invoice": "in_1",
        "amount_paid": 122_250,
        "currency": "usd",
        "payment": {"type": "payment_intent", "payment_intent": "pi_9"},
    }
    event = translated(stripe.event("invoice_payment.paid", link))
    assert event.refs.of_payment() == {"in_1", "pi_9"}
    assert event.student_id is None


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
]


@given(type=st.sampled_from(sorted(TRANSLATED)), thing=JSON, data=JSON)
def test_any_json_translates_without_exceptions(type: str, thing: Any, data: Any) -> None:
    translate({"id": "evt_1", "type": type, "data": {"object": thing, "previous_attributes": data}}, received_at=NOW)
    translate({"id": thing, "type": type, "data": data, "created": thing}, received_at=NOW)


@given(type=st.sampled_from(sorted(TRANSLATED)), sample=st.sampled_from(SAMPLES), data=st.data())
def test_any_field_may_have_any_value(type: str, sample: dict[str, Any], data: st.DataObject) -> None:
    """A real object with some fields replaced by arbitrary JSON: whatever is translated can be sent."""
    changed = dict(sample)
    for name in data.draw(st.lists(st.sampled_from(sorted(sample)), max_size=4)):
        changed[name] = data.draw(JSON)
    if isinstance(changed.get("metadata"), dict):
        changed["metadata"] = {
            **changed["metadata"],
            **data.draw(
                st.dictionaries(
                    st.sampled_from(sorted(stripe.BUNDLE_METADATA)), JSON | JSON.map(json.dumps) | NUMBERS, max_size=4
                )
            ),
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
