"""Every value that Stripe's SDK declares for a field that the code interprets is one that the code has words for.

A new version of the SDK with another status or reason fails here, before an event with it is dropped in production.
"""

from __future__ import annotations

import inspect
import re
from typing import Any, get_args

import pytest
import stripe
from stripe.checkout import Session

from checkout.stripe_client import invoices as invoice_calls
from checkout.stripe_client.intents import IntentStatus, intent_of
from contracts import payments
from ledger.payment import BANK_RETURNS

# The reasons of disputes that are claims of a customer. All others are returns of the payer's bank.
_CLAIMS = {
    "credit_not_processed": "the school kept what it owed back",
    "duplicate": "paid twice",
    "fraudulent": "not authorized by the cardholder",
    "general": "no category",
    "noncompliant": "against the rules of the card network",
    "product_not_received": "the course was not given",
    "product_unacceptable": "the course was not as described",
    "subscription_canceled": "charged after the end of a membership",
    "unrecognized": "not recognized on the statement",
}

# What the code makes of values that it has no Literal of its own for.
_INTENT = {
    "requires_payment_method": "payable; after an attempt: declined",
    "requires_confirmation": "payable",
    "requires_action": "payable; the payer has to authenticate or verify their bank account",
    "processing": "a bank debit that takes days: neither charged again nor canceled",
    "requires_capture": "never requested (capture_method is automatic); treated like succeeded",
    "succeeded": "paid",
    "canceled": "over",
}
_SESSION = {
    "open": "payable; reused, or expired when it is replaced",
    "complete": "over; its payment_status says whether it is paid",
    "expired": "over",
}
_SESSION_PAYMENT = {
    "paid": "settled",
    "no_payment_required": "settled, for nothing",
    "unpaid": "a bank debit; waits for checkout.session.async_payment_succeeded or _failed",
}
_SCHEDULE = {
    "not_started": "goes on",
    "active": "goes on",
    "completed": "over",
    "released": "over; its subscription goes on",
    "canceled": "over",
}
_MANDATE = {
    "active": "its bank account can be debited",
    "pending": "its bank account can be debited once the bank agrees",
    "inactive": "another payment method is asked for",
}
_INVOICE_PAYMENT = {
    "open": "the payment that is expected",
    "paid": "the payment that is refunded",
    "canceled": "never the payment of an invoice",
}
_CHARGE = {"pending": "a bank debit", "succeeded": "paid", "failed": "an attempt"}


def declared(resource: type, field: str) -> set[str]:
    """The values of a field: of its Literal, or, where the SDK has a plain string, of its description."""
    annotation: Any = resource.__annotations__[field]
    values = {value for part in (annotation, *get_args(annotation)) for value in get_args(part) if type(value) is str}
    return values or set(re.findall(r"`([a-z_]+)`", _description(resource, field)))


def _description(resource: type, field: str) -> str:
    found = re.search(rf'^    {field}: .*?\n    """\n(.*?)"""', inspect.getsource(resource), re.S | re.M)
    assert found is not None, f"{resource.__name__}.{field} is described no more"
    return found[1]


@pytest.mark.parametrize(
    ("resource", "field", "interpreted"),
    [
        (stripe.Dispute, "status", get_args(payments.DisputeStatus)),
        (stripe.Dispute, "reason", {*BANK_RETURNS, *_CLAIMS}),
        (stripe.Refund, "status", get_args(payments.RefundStatus)),
        (stripe.Subscription, "status", get_args(payments.SubscriptionStatus)),
        (stripe.Invoice, "status", get_args(invoice_calls.InvoiceStatus)),
        (stripe.InvoicePayment, "status", _INVOICE_PAYMENT),
        (stripe.PaymentIntent, "status", _INTENT),
        (stripe.PaymentIntent, "status", get_args(IntentStatus)),
        (Session, "status", _SESSION),
        (Session, "payment_status", _SESSION_PAYMENT),
        (stripe.SubscriptionSchedule, "status", _SCHEDULE),
        (stripe.Mandate, "status", _MANDATE),
        (stripe.Charge, "status", _CHARGE),
    ],
    ids=lambda part: part.__name__ if isinstance(part, type) else part if isinstance(part, str) else "",
)
def test_every_value_is_interpreted(resource: type, field: str, interpreted: Any) -> None:
    assert declared(resource, field), f"{resource.__name__}.{field} declares no values"
    assert set(interpreted) == declared(resource, field)


def test_an_unknown_status_of_an_intent_is_neither_payable_nor_over() -> None:
    later = {"id": "pi_1", "status": "requires_review", "amount": 100, "currency": "usd"}
    absent = dict.fromkeys(("last_payment_error", "client_secret", "amount_received", "next_action"))
    intent = stripe.PaymentIntent.construct_from({**later, **absent}, None)
    assert intent_of(intent).status == "processing"


def test_returns_of_banks_are_reasons_of_stripe() -> None:
    assert declared(stripe.Dispute, "reason") >= BANK_RETURNS
    assert not BANK_RETURNS & set(_CLAIMS)
