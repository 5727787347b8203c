"""Translates one Stripe event into our events, or none. Pure and total: accepts any JSON object, never raises.

Only objects with our metadata are translated, with two exceptions that carry none but may belong to one of our
purchases: refunds and disputes, and `invoice_payment.paid`, the only Stripe event that links a payment intent to its
invoice. Consumers find the purchase through the references that these share with other events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal, cast, get_args

from contracts.envelope import Envelope, Event
from contracts.money import Money
from contracts.payments import (
    DisputeStatus,
    PaymentDisputeClosed,
    PaymentDisputeOpened,
    PaymentEvent,
    PaymentExpired,
    PaymentFailed,
    PaymentPending,
    PaymentRefs,
    PaymentRefunded,
    PaymentSucceeded,
    RefundStatus,
    SubscriptionChanged,
    SubscriptionStatus,
)
from webhook_gateway.fields import (
    JsonObject,
    integer,
    money_at,
    object_at,
    object_id,
    objects_at,
    text,
    timestamp,
    url,
    value_at,
)
from webhook_gateway.purchase import PurchaseFields, purchase_fields, tier

SOURCE = "webhook-gateway"

_CLOSED_DISPUTES = frozenset({"won", "lost", "warning_closed", "prevented"})


def translate(event: Mapping[str, Any], *, received_at: datetime) -> list[Envelope[Event]]:
    """Returns the events to publish for a Stripe event. `received_at` is their time if Stripe gave none."""
    event_id, event_type = text(event, "id", limit=255), text(event, "type", limit=255)
    if event_id is None or (translator := _TRANSLATORS.get(event_type or "")) is None:
        return []
    data = translator(object_at(event, "data", "object"), event)
    if data is None:
        return []
    envelope = Envelope(
        id=f"{event_id}/{data.type}",
        source=SOURCE,
        subject=_subject(data),
        time=timestamp(event, "created") or received_at,
        data=data,
        correlation_id=_subject(data),
        causation_id=event_id,
    )
    return [envelope]


def _subject(event: PaymentEvent) -> str:
    if event.purchase_id is not None:
        return str(event.purchase_id)
    return min(event.refs.of_payment(), default=event.refs.subscription or "unknown")


def _purchase_or_refs(thing: JsonObject, refs: PaymentRefs) -> PurchaseFields:
    """For events that are published even without our metadata."""
    return purchase_fields(thing, refs) or {"refs": refs}


# --- checkout sessions ------------------------------------------------------------------------------------------------


def _session_refs(session: JsonObject) -> PaymentRefs:
    return PaymentRefs(
        checkout_session=object_id(session, "id"),
        payment_intent=object_id(session, "payment_intent"),
        invoice=object_id(session, "invoice"),
        subscription=object_id(session, "subscription"),
    )


def _session_completed(session: JsonObject, _: JsonObject) -> PaymentEvent | None:
    purchase = purchase_fields(session, _session_refs(session))
    amount = money_at(session, "amount_total")
    if purchase is None or amount is None or session.get("mode") == "setup":
        return None
    if session.get("payment_status") in ("paid", "no_payment_required"):
        return PaymentSucceeded(
            **purchase, amount=amount, method=_only_method(session), tax=_session_tax(session, amount)
        )
    return PaymentPending(**purchase, amount=amount, method=_only_method(session))


def _async_payment_succeeded(session: JsonObject, _: JsonObject) -> PaymentEvent | None:
    purchase, amount = purchase_fields(session, _session_refs(session)), money_at(session, "amount_total")
    if purchase is None or amount is None:
        return None
    return PaymentSucceeded(**purchase, amount=amount, method=_only_method(session), tax=_session_tax(session, amount))


def _session_tax(session: JsonObject, amount: Money) -> Money | None:
    return _portion(amount, integer(session, "total_details", "amount_tax"))


def _async_payment_failed(session: JsonObject, _: JsonObject) -> PaymentEvent | None:
    purchase = purchase_fields(session, _session_refs(session))
    if purchase is None:
        return None
    return PaymentFailed(**purchase, amount=money_at(session, "amount_total"), code="async_payment_failed", final=True)


def _session_expired(session: JsonObject, _: JsonObject) -> PaymentEvent | None:
    purchase = purchase_fields(session, _session_refs(session))
    return None if purchase is None else PaymentExpired(**purchase)


# --- payment intents --------------------------------------------------------------------------------------------------


def _intent_refs(intent: JsonObject) -> PaymentRefs:
    return PaymentRefs(
        payment_intent=object_id(intent, "id"),
        charge=object_id(intent, "latest_charge"),
        invoice=object_id(intent, "invoice"),  # older API versions
    )


def _intent_succeeded(intent: JsonObject, _: JsonObject) -> PaymentEvent | None:
    purchase = purchase_fields(intent, _intent_refs(intent))
    amount = money_at(intent, "amount_received") or money_at(intent, "amount")
    if purchase is None or amount is None:
        return None
    return PaymentSucceeded(**purchase, amount=amount, method=_only_method(intent))


def _intent_failed(intent: JsonObject, _: JsonObject) -> PaymentEvent | None:
    purchase = purchase_fields(intent, _intent_refs(intent))
    if purchase is None:
        return None
    error = object_at(intent, "last_payment_error")
    code = text(error, "decline_code", limit=100) or text(error, "code", limit=100) or "unknown"
    return PaymentFailed(**purchase, amount=money_at(intent, "amount"), code=code)


def _intent_processing(intent: JsonObject, _: JsonObject) -> PaymentEvent | None:
    purchase = purchase_fields(intent, _intent_refs(intent))
    if purchase is None:
        return None
    return PaymentPending(**purchase, amount=money_at(intent, "amount"), method=_only_method(intent))


def _intent_canceled(intent: JsonObject, _: JsonObject) -> PaymentEvent | None:
    purchase = purchase_fields(intent, _intent_refs(intent))
    if purchase is None:
        return None
    return PaymentFailed(**purchase, amount=money_at(intent, "amount"), code="canceled", final=True)


# --- invoices and subscriptions ---------------------------------------------------------------------------------------


def _invoice_refs(invoice: JsonObject) -> PaymentRefs:
    """Current shape: parent.subscription_details and payments; older: subscription, payment_intent, charge."""
    paid_by = next(objects_at(invoice, "payments", "data"), {})
    return PaymentRefs(
        invoice=object_id(invoice, "id"),
        payment_intent=object_id(invoice, "payment_intent") or object_id(paid_by, "payment", "payment_intent"),
        charge=object_id(invoice, "charge") or object_id(paid_by, "payment", "charge"),
        subscription=object_id(invoice, "parent", "subscription_details", "subscription")
        or object_id(invoice, "subscription"),
    )


def _invoice_paid(invoice: JsonObject, _: JsonObject) -> PaymentEvent | None:
    purchase, amount = purchase_fields(invoice, _invoice_refs(invoice)), money_at(invoice, "amount_paid")
    if purchase is None or amount is None:
        return None
    taxes = (integer(tax, "amount") or 0 for tax in objects_at(invoice, "total_taxes"))
    return PaymentSucceeded(**purchase, amount=amount, tax=_portion(amount, sum(taxes) or integer(invoice, "tax")))


def _invoice_failed(invoice: JsonObject, _: JsonObject) -> PaymentEvent | None:
    purchase = purchase_fields(invoice, _invoice_refs(invoice))
    if purchase is None:
        return None
    next_attempt_at = timestamp(invoice, "next_payment_attempt")
    return PaymentFailed(
        **purchase,
        amount=money_at(invoice, "amount_due"),
        code=text(invoice, "last_finalization_error", "code", limit=100) or "invoice_payment_failed",
        attempt=integer(invoice, "attempt_count") or 1,
        # a sent invoice has no retries; for one that is charged automatically, no next attempt means that was the last
        final=next_attempt_at is None and invoice.get("collection_method") != "send_invoice",
        next_attempt_at=next_attempt_at,
        pay_url=url(invoice, "hosted_invoice_url"),
    )


def _invoice_voided(invoice: JsonObject, _: JsonObject) -> PaymentEvent | None:
    purchase = purchase_fields(invoice, _invoice_refs(invoice))
    return None if purchase is None else PaymentExpired(**purchase)


def _invoice_payment_paid(link: JsonObject, _: JsonObject) -> PaymentEvent | None:
    refs = PaymentRefs(
        invoice=object_id(link, "invoice"),
        payment_intent=object_id(link, "payment", "payment_intent"),
        charge=object_id(link, "payment", "charge"),
    )
    amount = money_at(link, "amount_paid")
    if amount is None or len(refs.of_payment()) < 2:
        return None
    return PaymentSucceeded(refs=refs, amount=amount)


def _subscription_changed(subscription: JsonObject, event: JsonObject) -> PaymentEvent | None:
    refs = PaymentRefs(subscription=object_id(subscription, "id"))
    purchase, status = purchase_fields(subscription, refs), text(subscription, "status")
    if purchase is None or refs.subscription is None or status not in get_args(SubscriptionStatus):
        return None
    ends = [end for item in objects_at(subscription, "items", "data") if (end := timestamp(item, "current_period_end"))]
    return SubscriptionChanged(
        **purchase,
        status=cast(SubscriptionStatus, status),
        cancel_at_period_end=value_at(subscription, "cancel_at_period_end") is True,
        current_period_end=max(ends, default=None) or timestamp(subscription, "current_period_end"),
        ended_at=timestamp(subscription, "ended_at"),
        tier=tier(subscription),
        collection_paused=isinstance(value_at(subscription, "pause_collection"), Mapping),
        as_of=timestamp(event, "created"),
    )


# --- refunds and disputes ---------------------------------------------------------------------------------------------


def _charge_refunded(charge: JsonObject, event: JsonObject) -> PaymentEvent | None:
    refs = PaymentRefs(
        charge=object_id(charge, "id"),
        payment_intent=object_id(charge, "payment_intent"),
        invoice=object_id(charge, "invoice"),
    )
    total = money_at(charge, "amount_refunded")
    if total is None or not refs.of_payment():
        return None
    previous = integer(event, "data", "previous_attributes", "amount_refunded")
    return PaymentRefunded(
        **_purchase_or_refs(charge, refs),
        total=total,
        before=None if previous is None else total.model_copy(update={"amount": previous}),
        of=money_at(charge, "amount_captured") or money_at(charge, "amount"),
    )


def _refund_changed(refund: JsonObject, _: JsonObject) -> PaymentEvent | None:
    refs = PaymentRefs(charge=object_id(refund, "charge"), payment_intent=object_id(refund, "payment_intent"))
    refund_id, amount, status = object_id(refund, "id"), money_at(refund, "amount"), text(refund, "status")
    if refund_id is None or amount is None or not refs.of_payment() or status not in get_args(RefundStatus):
        return None
    return PaymentRefunded(
        **_purchase_or_refs(refund, refs),
        refund_id=refund_id,
        amount=amount,
        status=cast(RefundStatus, status),
    )


def _dispute_changed(dispute: JsonObject, event: JsonObject) -> PaymentEvent | None:
    refs = PaymentRefs(charge=object_id(dispute, "charge"), payment_intent=object_id(dispute, "payment_intent"))
    dispute_id, amount, status = object_id(dispute, "id"), money_at(dispute, "amount"), text(dispute, "status")
    if dispute_id is None or amount is None or not refs.of_payment() or status not in get_args(DisputeStatus):
        return None
    purchase = _purchase_or_refs(dispute, refs)
    reason = text(dispute, "reason", limit=100) or "general"
    if status in _CLOSED_DISPUTES:
        return PaymentDisputeClosed(
            **purchase,
            dispute_id=dispute_id,
            status=cast(DisputeStatus, status),
            amount=amount,
            reason=reason,
            funds=_dispute_funds(event),
        )
    return PaymentDisputeOpened(
        **purchase,
        dispute_id=dispute_id,
        status=cast(DisputeStatus, status),
        amount=amount,
        reason=reason,
        evidence_due_by=timestamp(dispute, "evidence_details", "due_by"),
        funds=_dispute_funds(event),
    )


def _dispute_funds(event: JsonObject) -> Literal["withdrawn", "reinstated"] | None:
    match text(event, "type"):
        case "charge.dispute.funds_withdrawn":
            return "withdrawn"
        case "charge.dispute.funds_reinstated":
            return "reinstated"
        case _:
            return None


def _portion(amount: Money, part: int | None) -> Money | None:
    """`part` of the amount, at most all of it (a credit may have paid the rest); None for zero."""
    portion = min(part or 0, amount.amount)
    return amount.model_copy(update={"amount": portion}) if portion else None


def _only_method(thing: JsonObject) -> str | None:
    """The payment method, if only one was possible."""
    methods = thing.get("payment_method_types")
    return text(methods[0], limit=50) if isinstance(methods, list) and len(methods) == 1 else None


# Each takes the Stripe object and the event that contains it.
_TRANSLATORS: Mapping[str, Callable[[JsonObject, JsonObject], PaymentEvent | None]] = {
    "checkout.session.completed": _session_completed,
    "checkout.session.async_payment_succeeded": _async_payment_succeeded,
    "checkout.session.async_payment_failed": _async_payment_failed,
    "checkout.session.expired": _session_expired,
    "payment_intent.succeeded": _intent_succeeded,
    "payment_intent.payment_failed": _intent_failed,
    "payment_intent.processing": _intent_processing,
    "payment_intent.canceled": _intent_canceled,
    "invoice.paid": _invoice_paid,
    "invoice.payment_failed": _invoice_failed,
    "invoice.voided": _invoice_voided,
    "invoice_payment.paid": _invoice_payment_paid,
    "customer.subscription.created": _subscription_changed,
    "customer.subscription.updated": _subscription_changed,
    "customer.subscription.deleted": _subscription_changed,
    "customer.subscription.paused": _subscription_changed,
    "customer.subscription.resumed": _subscription_changed,
    "charge.refunded": _charge_refunded,
    "refund.created": _refund_changed,
    "refund.updated": _refund_changed,
    "refund.failed": _refund_changed,
    "charge.dispute.created": _dispute_changed,
    "charge.dispute.updated": _dispute_changed,
    "charge.dispute.closed": _dispute_changed,
    "charge.dispute.funds_withdrawn": _dispute_changed,
    "charge.dispute.funds_reinstated": _dispute_changed,
}

TRANSLATED = frozenset(_TRANSLATORS)
"""The Stripe event types to subscribe the webhook endpoint to; all others are only journaled."""
