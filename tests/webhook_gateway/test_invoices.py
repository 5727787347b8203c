"""Invoices and their payments: what was paid, by what, and what a failure says."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.webhook_gateway import stripe_events as stripe

from contracts.money import Money, usd
from contracts.payments import PaymentEvent
from ledger.facts import fold
from webhook_gateway.translate import translate

NOW = datetime(2026, 11, 21, tzinfo=UTC)
OURS = {**stripe.OUR_METADATA, "installment": "due_1:1"}


def translated(
    type: str, thing: dict[str, Any]
) -> Any:  # Any: the tests read the fields of the event class they expect
    (envelope,) = translate(stripe.event(type, thing), received_at=NOW)
    return envelope.data


def test_old_and_new_invoice_shapes_translate_alike() -> None:
    old = stripe.invoice(
        parent=None,
        subscription="sub_1",
        payment_intent="pi_9",
        charge="ch_9",
        subscription_details={"metadata": {**stripe.SEED_METADATA, "installments": "4"}},
    )
    payment = stripe.invoice_payment(payment={"type": "payment_intent", "payment_intent": "pi_9", "charge": "ch_9"})
    new = stripe.invoice(payments=stripe.payments(payment))
    assert translated("invoice.paid", old) == translated("invoice.paid", new)
    event = translated("invoice.paid", new)
    assert (event.refs.subscription, event.refs.payment_intent, event.installments) == ("sub_1", "pi_9", 4)


def test_only_the_last_automatic_retry_is_final() -> None:
    retrying = stripe.invoice(next_payment_attempt=1_790_100_000, attempt_count=2)
    last = stripe.invoice(attempt_count=4)
    sent = stripe.invoice(collection_method="send_invoice")
    finals = [translated("invoice.payment_failed", each).final for each in (retrying, last, sent)]
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
    event = translated("invoice.payment_failed", stripe.invoice(hosted_invoice_url=hosted_invoice_url))
    assert event.pay_url == pay_url


def test_a_failure_without_an_invoice_has_no_payment_page() -> None:
    assert translated("invoice.payment_failed", stripe.invoice()).pay_url is None
    assert translated("payment_intent.payment_failed", stripe.intent()).pay_url is None


def test_an_invoice_payment_links_an_intent_to_its_invoice() -> None:
    event = translated("invoice_payment.paid", stripe.invoice_payment(amount_paid=50_000))
    assert event.refs.of_payment() == {"in_1", "pi_9"}
    assert (event.student_id, event.amount) == (None, usd(50_000)), "what this payment paid, not the whole invoice"


def test_a_payment_record_names_no_payment_of_stripe() -> None:
    record = stripe.invoice_payment(payment={"type": "payment_record", "payment_record": "pr_1"})
    assert translate(stripe.event("invoice_payment.paid", record), received_at=NOW) == []


HALF = stripe.invoice_payment(amount_paid=61_125)
OTHER_HALF = stripe.invoice_payment(amount_paid=61_125, payment={"type": "payment_intent", "payment_intent": "pi_10"})
CANCELED = stripe.invoice_payment(amount_paid=None, payment={"payment_intent": "pi_11"}, status="canceled")


@pytest.mark.parametrize(
    ("payments", "intent"),
    [
        (stripe.payments(stripe.invoice_payment()), "pi_9"),
        (stripe.payments(stripe.invoice_payment(), CANCELED), "pi_9"),
        (stripe.payments(HALF, OTHER_HALF), None),
        (stripe.payments(HALF), None),
        (stripe.payments(stripe.invoice_payment(), has_more=True), None),
        (stripe.payments(), None),
        ({"data": [stripe.invoice_payment()]}, None),
        (None, None),
    ],
    ids=["one", "one and a canceled one", "two", "a part", "incomplete", "none", "no list", "absent"],
)
def test_an_invoice_names_the_only_intent_that_paid_it(payments: object, intent: str | None) -> None:
    assert translated("invoice.paid", stripe.invoice(payments=payments)).refs.payment_intent == intent


def test_an_invoice_paid_by_two_intents_counts_once() -> None:
    """In any order: the parts add up to the invoice, and the invoice adds nothing to them."""
    invoice = stripe.invoice(payments=stripe.payments(HALF, OTHER_HALF))
    facts: dict[str, PaymentEvent] = {
        "a": translated("invoice.paid", invoice),
        "b": translated("invoice_payment.paid", HALF),
        "c": translated("invoice_payment.paid", OTHER_HALF),
        "d": translated("charge.succeeded", stripe.charge(payment_intent="pi_9", amount_captured=61_125)),
    }
    (purchase,) = fold(facts)
    (payment,) = purchase.payments
    assert payment.settled == usd(122_250)


@pytest.mark.parametrize(
    ("before", "after", "credit"),
    [
        (-17_100, 0, usd(17_100)),
        (-17_100, -15_200, usd(1_900)),
        (0, 0, None),
        (0, -17_100, None),  # a credit was granted, not used
        (500, 0, None),  # an older debt was added to this invoice
        (0, 30, None),  # too small to be charged: the customer owes it
        (-10, 20, usd(10)),
        (-10, None, None),
        ("-10", "0", None),
        (-(10**30), 0, None),
    ],
)
def test_the_credit_of_an_invoice(before: object, after: object, credit: Money | None) -> None:
    thing = stripe.invoice(starting_balance=before, ending_balance=after)
    assert translated("invoice.paid", thing).credit == credit


def test_an_invoice_paid_by_a_credit_alone_is_worth_its_price() -> None:
    """amount - tax + credit is the net price, although no tax is part of the amount."""
    thing = stripe.invoice(amount_paid=0, total_taxes=[{"amount": 800}], starting_balance=-10_800, ending_balance=0)
    event = translated("invoice.paid", thing)
    assert (event.amount, event.tax, event.credit) == (usd(0), None, usd(10_000))


@pytest.mark.parametrize(
    ("amounts", "discount"),
    [
        ([{"amount": 1_000, "discount": "di_1"}, {"amount": 55, "discount": "di_2"}], usd(1_055)),
        ([{"amount": 0}], None),
        ([{"amount": "x"}, None], None),
        (None, None),
    ],
)
def test_the_discount_of_an_invoice(amounts: object, discount: Money | None) -> None:
    assert translated("invoice.paid", stripe.invoice(total_discount_amounts=amounts)).discount == discount


@pytest.mark.parametrize("amount_paid", [10_000, 12_500], ids=["without the excess", "with the excess"])
def test_an_overpaid_invoice_reports_all_that_was_received(amount_paid: int) -> None:
    thing = stripe.invoice(amount_due=10_000, amount_paid=amount_paid, amount_overpaid=2_500)
    assert translated("invoice.overpaid", thing).amount == usd(12_500)


@pytest.mark.parametrize("next_payment_attempt", [None, 1_790_100_000])
def test_a_failed_invoice_of_an_installment_is_never_final(next_payment_attempt: int | None) -> None:
    """Checkout collects it, and publishes the last failure itself."""
    thing = stripe.invoice(metadata=OURS, parent=None, next_payment_attempt=next_payment_attempt)
    event = translated("invoice.payment_failed", thing)
    assert (event.refs.installment, event.final) == ("due_1:1", False)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"code": "card_declined", "decline_code": "insufficient_funds"}, "insufficient_funds"),
        ({"code": "payment_intent_authentication_failure"}, "payment_intent_authentication_failure"),
        (None, "invoice_payment_failed"),
        ("declined", "invoice_payment_failed"),
    ],
)
def test_a_failed_invoice_has_the_decline_code_of_its_intent(error: object, code: str) -> None:
    intent = stripe.intent(last_payment_error=error)
    payment = stripe.invoice_payment(amount_paid=None, status="open", payment={"payment_intent": intent})
    thing = stripe.invoice(amount_paid=0, payments=stripe.payments(payment))
    assert translated("invoice.payment_failed", thing).code == code


def test_an_invoice_that_cannot_be_finalized_has_the_reason() -> None:
    error = {"code": "customer_tax_location_invalid", "message": "…"}
    event = translated("invoice.finalization_failed", stripe.invoice(last_finalization_error=error))
    assert (event.code, event.final) == ("customer_tax_location_invalid", False)
    assert translated("invoice.finalization_failed", stripe.invoice()).code == "invoice_finalization_failed"


def test_an_uncollectible_invoice_failed_finally_and_can_still_be_paid() -> None:
    thing = stripe.invoice(amount_paid=0, amount_remaining=22_250, hosted_invoice_url="https://invoice.stripe.com/i/1")
    event = translated("invoice.marked_uncollectible", thing)
    assert (event.code, event.final, event.amount) == ("marked_uncollectible", True, usd(22_250))
    assert event.pay_url == "https://invoice.stripe.com/i/1"


def test_an_invoice_that_requires_authentication_has_its_page() -> None:
    thing = stripe.invoice(metadata=OURS, amount_paid=0, hosted_invoice_url="https://invoice.stripe.com/i/1")
    event = translated("invoice.payment_action_required", thing)
    assert (event.action, event.url) == ("authenticate", "https://invoice.stripe.com/i/1")
    assert (event.amount, event.refs.installment) == (usd(122_250), "due_1:1")


@pytest.mark.parametrize(
    "type", ["payment_intent.payment_failed", "payment_intent.processing", "payment_intent.requires_action"]
)
def test_the_intent_of_an_invoice_names_it(type: str) -> None:
    """It has no metadata, but the bank's reason, the pending debit and the page of micro-deposits are the invoice's."""
    error = {"code": "card_declined", "decline_code": "insufficient_funds"}
    details = {"order_reference": "in_1"}
    event = translated(type, stripe.intent(metadata={}, payment_details=details, last_payment_error=error))
    assert (event.refs.of_payment(), event.purchase_id) == ({"pi_1", "ch_1", "in_1"}, None)
    assert getattr(event, "code", "insufficient_funds") == "insufficient_funds"


@pytest.mark.parametrize("reference", ["order_1", "", None, 7, {"id": "order_1"}])
def test_an_order_reference_of_another_system_is_no_invoice(reference: object) -> None:
    thing = stripe.intent(metadata={}, payment_details={"order_reference": reference})
    assert translate(stripe.event("payment_intent.payment_failed", thing), received_at=NOW) == []
    assert translated("payment_intent.succeeded", thing).refs.invoice is None
