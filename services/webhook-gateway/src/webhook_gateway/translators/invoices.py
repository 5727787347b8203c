"""invoice.* and invoice_payment.paid"""

from __future__ import annotations

from contracts.money import Money
from contracts.payments import (
    PaymentActionRequired,
    PaymentEvent,
    PaymentExpired,
    PaymentFailed,
    PaymentRefs,
    PaymentSucceeded,
)
from webhook_gateway.fields import (
    JsonObject,
    integer,
    money,
    money_at,
    object_at,
    object_id,
    objects_at,
    portion,
    signed_integer,
    text,
    timestamp,
    total,
    url,
)
from webhook_gateway.purchase import purchase_fields, received_fields
from webhook_gateway.translators.intents import decline_code


def _refs(invoice: JsonObject) -> PaymentRefs:
    """Current shape: parent.subscription_details and payments; older: subscription, payment_intent, charge."""
    intent, charge = _only_payment(invoice)
    return PaymentRefs(
        invoice=object_id(invoice, "id"),
        payment_intent=object_id(invoice, "payment_intent") or intent,
        charge=object_id(invoice, "charge") or charge,
        subscription=object_id(invoice, "parent", "subscription_details", "subscription")
        or object_id(invoice, "subscription"),
        customer=object_id(invoice, "customer"),
    )


def _only_payment(invoice: JsonObject) -> tuple[str | None, str | None]:
    """The intent and the charge of an invoice that has one payment, for all that is paid of it.

    An invoice can be paid by several (Stripe SDK 16.1, Invoice.payments and InvoicePayment). Naming one of them would
    report all of the invoice's amount as paid by that one; `invoice_payment.paid` reports each with its own amount.
    """
    payments = object_at(invoice, "payments")
    made = [payment for payment in objects_at(payments, "data") if text(payment, "status") != "canceled"]
    if payments.get("has_more") is not False or len(made) != 1:
        return None, None
    (only,) = made
    if (integer(only, "amount_paid") or 0) != (integer(invoice, "amount_paid") or 0):
        return None, None
    return object_id(only, "payment", "payment_intent"), object_id(only, "payment", "charge")


def paid(invoice: JsonObject, _: JsonObject) -> PaymentEvent | None:
    return _succeeded(invoice, money_at(invoice, "amount_paid"))


def overpaid(invoice: JsonObject, _: JsonObject) -> PaymentEvent | None:
    """Reports what was received in all, so that more than is owed becomes visible.

    Stripe SDK 16.1, Invoice.amount_overpaid: "Amount that was overpaid on the invoice. The amount overpaid is credited
    to the customer's credit balance." Whether amount_paid includes it is not documented: the greater of the two sums.
    """
    due, excess = integer(invoice, "amount_due") or 0, integer(invoice, "amount_overpaid") or 0
    received = max(integer(invoice, "amount_paid") or 0, due + excess)
    return _succeeded(invoice, money(received, text(invoice, "currency")))


def _succeeded(invoice: JsonObject, amount: Money | None) -> PaymentEvent | None:
    if amount is None:
        return None
    all_tax = total(invoice, "total_taxes") or integer(invoice, "tax") or 0
    tax = portion(amount, all_tax)
    credit = _credit(invoice, amount.currency, tax_not_paid=all_tax - (tax.amount if tax else 0))
    purchase = received_fields(invoice, _refs(invoice), amount, credit)
    if purchase is None:
        return None
    discount = money(total(invoice, "total_discount_amounts") or None, amount.currency)
    return PaymentSucceeded(**purchase, amount=amount, tax=tax, discount=discount, credit=credit)


def _credit(invoice: JsonObject, currency: str, *, tax_not_paid: int) -> Money | None:
    """How much of the customer's credit balance paid for the invoice, without tax.

    Stripe SDK 16.1, Invoice.starting_balance and ending_balance: the customer's balance before and after the invoice.
    A credit is negative. (A balance above zero is owed: it is added to an invoice, or is an amount too small to be
    charged.)
    """
    before, after = signed_integer(invoice, "starting_balance"), signed_integer(invoice, "ending_balance")
    if before is None or after is None:
        return None
    applied = min(after, 0) - min(before, 0) - tax_not_paid
    return money(applied, currency) if applied > 0 else None


def payment_failed(invoice: JsonObject, _: JsonObject) -> PaymentEvent | None:
    purchase = purchase_fields(invoice, _refs(invoice))
    if purchase is None:
        return None
    next_attempt_at = timestamp(invoice, "next_payment_attempt")
    # For an invoice that Stripe charges automatically, no next attempt means that this was the last one. A sent invoice
    # has no retries. Those of an installment are checkout's, which publishes its last failure itself.
    retried_by_stripe = invoice.get("collection_method") != "send_invoice" and purchase["refs"].installment is None
    return PaymentFailed(
        **purchase,
        amount=money_at(invoice, "amount_due"),
        code=_failure_code(invoice) or "invoice_payment_failed",
        attempt=integer(invoice, "attempt_count") or 1,
        final=retried_by_stripe and next_attempt_at is None,
        next_attempt_at=next_attempt_at,
        pay_url=_page(invoice),
    )


def _failure_code(invoice: JsonObject) -> str | None:
    """Where the event includes the intent: its decline code."""
    intents = [object_at(payment, "payment", "payment_intent") for payment in objects_at(invoice, "payments", "data")]
    codes = (decline_code(intent) for intent in (*intents, object_at(invoice, "payment_intent")))
    return next(filter(None, codes), None) or text(invoice, "last_finalization_error", "code", limit=100)


def finalization_failed(invoice: JsonObject, _: JsonObject) -> PaymentEvent | None:
    """The invoice stays a draft, which cannot be paid: an operator has to mend what the code names."""
    purchase = purchase_fields(invoice, _refs(invoice))
    if purchase is None:
        return None
    code = text(invoice, "last_finalization_error", "code", limit=100) or "invoice_finalization_failed"
    return PaymentFailed(**purchase, amount=money_at(invoice, "amount_due"), code=code)


def marked_uncollectible(invoice: JsonObject, _: JsonObject) -> PaymentEvent | None:
    purchase = purchase_fields(invoice, _refs(invoice))
    if purchase is None:
        return None
    return PaymentFailed(
        **purchase,
        amount=_remaining(invoice),
        code="marked_uncollectible",
        attempt=integer(invoice, "attempt_count") or 0,
        final=True,
        pay_url=_page(invoice),
    )


def payment_action_required(invoice: JsonObject, _: JsonObject) -> PaymentEvent | None:
    purchase = purchase_fields(invoice, _refs(invoice))
    if purchase is None:
        return None
    return PaymentActionRequired(**purchase, amount=_remaining(invoice), action="authenticate", url=_page(invoice))


def voided(invoice: JsonObject, _: JsonObject) -> PaymentEvent | None:
    purchase = purchase_fields(invoice, _refs(invoice))
    return None if purchase is None else PaymentExpired(**purchase)


def payment_paid(payment: JsonObject, _: JsonObject) -> PaymentEvent | None:
    """One of an invoice's payments (see docs/decisions/0002-invoice-payment-events.md)."""
    refs = PaymentRefs(
        invoice=object_id(payment, "invoice"),
        payment_intent=object_id(payment, "payment", "payment_intent"),
        charge=object_id(payment, "payment", "charge"),
    )
    amount = money_at(payment, "amount_paid")
    if amount is None or len(refs.of_payment()) < 2:
        return None
    return PaymentSucceeded(refs=refs, amount=amount)


def _remaining(invoice: JsonObject) -> Money | None:
    return money_at(invoice, "amount_remaining") or money_at(invoice, "amount_due")


def _page(invoice: JsonObject) -> str | None:
    return url(invoice, "hosted_invoice_url")
