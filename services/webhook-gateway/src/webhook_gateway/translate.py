"""One Stripe event -> our events, or none. Pure and total: any JSON object in, never an exception.

Only what carries our metadata is translated, with two exceptions that carry none and may belong to a purchase of ours
all the same: refunds and disputes, and `invoice_payment.paid`, which is Stripe's only word on which payment intent
paid which invoice. They find their purchase by the references that they share with other events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, cast, get_args

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
from webhook_gateway.fields import JsonObject, an_object, at, moment, money, objects, ref, text, url, whole
from webhook_gateway.purchase import about, tier

SOURCE = "webhook-gateway"

_CLOSED_DISPUTES = frozenset({"won", "lost", "warning_closed", "prevented"})
_FUNDS = {"charge.dispute.funds_withdrawn": "withdrawn", "charge.dispute.funds_reinstated": "reinstated"}


def translate(event: Mapping[str, Any], *, received_at: datetime) -> list[Envelope[Event]]:
    """What the event means. `received_at` stands in for a time that Stripe did not give."""
    event_id, event_type = text(event, "id", most=255), text(event, "type", most=255)
    if event_id is None or (reader := _READERS.get(event_type or "")) is None:
        return []
    meant = reader(an_object(event, "data", "object"), event)
    if meant is None:
        return []
    said = Envelope(
        id=f"{event_id}/{meant.type}",
        source=SOURCE,
        subject=_subject(meant),
        time=moment(event, "created") or received_at,
        data=meant,
        correlation_id=_subject(meant),
        causation_id=event_id,
    )
    return [said]


def _subject(event: PaymentEvent) -> str:
    if event.purchase_id is not None:
        return str(event.purchase_id)
    return min(event.refs.of_payment(), default=event.refs.subscription or "unknown")


# --- checkout sessions ------------------------------------------------------------------------------------------------


def _session_refs(session: JsonObject) -> PaymentRefs:
    return PaymentRefs(
        checkout_session=ref(session, "id"),
        payment_intent=ref(session, "payment_intent"),
        invoice=ref(session, "invoice"),
        subscription=ref(session, "subscription"),
    )


def _session_settled(session: JsonObject, _: JsonObject) -> PaymentEvent | None:
    told = about(session, _session_refs(session))
    amount = money(session, "amount_total")
    if told is None or amount is None or session.get("mode") == "setup":
        return None
    if session.get("payment_status") in ("paid", "no_payment_required"):
        return PaymentSucceeded(**told, amount=amount, method=_only_method(session), tax=_session_tax(session, amount))
    return PaymentPending(**told, amount=amount, method=_only_method(session))


def _session_paid_later(session: JsonObject, _: JsonObject) -> PaymentEvent | None:
    told, amount = about(session, _session_refs(session)), money(session, "amount_total")
    if told is None or amount is None:
        return None
    return PaymentSucceeded(**told, amount=amount, method=_only_method(session), tax=_session_tax(session, amount))


def _session_tax(session: JsonObject, amount: Money) -> Money | None:
    return _part(amount, whole(session, "total_details", "amount_tax"))


def _session_failed_later(session: JsonObject, _: JsonObject) -> PaymentEvent | None:
    told = about(session, _session_refs(session))
    if told is None:
        return None
    return PaymentFailed(**told, amount=money(session, "amount_total"), code="async_payment_failed", final=True)


def _session_expired(session: JsonObject, _: JsonObject) -> PaymentEvent | None:
    told = about(session, _session_refs(session))
    return None if told is None else PaymentExpired(**told)


# --- payment intents --------------------------------------------------------------------------------------------------


def _intent_refs(intent: JsonObject) -> PaymentRefs:
    return PaymentRefs(
        payment_intent=ref(intent, "id"),
        charge=ref(intent, "latest_charge"),
        invoice=ref(intent, "invoice"),  # older API versions
    )


def _intent_succeeded(intent: JsonObject, _: JsonObject) -> PaymentEvent | None:
    told = about(intent, _intent_refs(intent))
    amount = money(intent, "amount_received") or money(intent, "amount")
    if told is None or amount is None:
        return None
    return PaymentSucceeded(**told, amount=amount, method=_only_method(intent))


def _intent_failed(intent: JsonObject, _: JsonObject) -> PaymentEvent | None:
    told = about(intent, _intent_refs(intent))
    if told is None:
        return None
    error = an_object(intent, "last_payment_error")
    code = text(error, "decline_code", most=100) or text(error, "code", most=100) or "unknown"
    return PaymentFailed(**told, amount=money(intent, "amount"), code=code)


def _intent_processing(intent: JsonObject, _: JsonObject) -> PaymentEvent | None:
    told = about(intent, _intent_refs(intent))
    if told is None:
        return None
    return PaymentPending(**told, amount=money(intent, "amount"), method=_only_method(intent))


def _intent_canceled(intent: JsonObject, _: JsonObject) -> PaymentEvent | None:
    told = about(intent, _intent_refs(intent))
    if told is None:
        return None
    return PaymentFailed(**told, amount=money(intent, "amount"), code="canceled", final=True)


# --- invoices and subscriptions ---------------------------------------------------------------------------------------


def _invoice_refs(invoice: JsonObject) -> PaymentRefs:
    """New shape: parent.subscription_details and payments; old shape: subscription, payment_intent, charge."""
    paid_by = next(objects(invoice, "payments", "data"), {})
    return PaymentRefs(
        invoice=ref(invoice, "id"),
        payment_intent=ref(invoice, "payment_intent") or ref(paid_by, "payment", "payment_intent"),
        charge=ref(invoice, "charge") or ref(paid_by, "payment", "charge"),
        subscription=ref(invoice, "parent", "subscription_details", "subscription") or ref(invoice, "subscription"),
    )


def _invoice_paid(invoice: JsonObject, _: JsonObject) -> PaymentEvent | None:
    told, amount = about(invoice, _invoice_refs(invoice)), money(invoice, "amount_paid")
    if told is None or amount is None:
        return None
    taxes = (whole(tax, "amount") or 0 for tax in objects(invoice, "total_taxes"))
    return PaymentSucceeded(**told, amount=amount, tax=_part(amount, sum(taxes) or whole(invoice, "tax")))


def _invoice_failed(invoice: JsonObject, _: JsonObject) -> PaymentEvent | None:
    told = about(invoice, _invoice_refs(invoice))
    if told is None:
        return None
    next_attempt_at = moment(invoice, "next_payment_attempt")
    return PaymentFailed(
        **told,
        amount=money(invoice, "amount_due"),
        code=text(invoice, "last_finalization_error", "code", most=100) or "invoice_payment_failed",
        attempt=whole(invoice, "attempt_count") or 1,
        # an invoice that was sent has no retries; only one that is charged by itself can have had its last
        final=next_attempt_at is None and invoice.get("collection_method") != "send_invoice",
        next_attempt_at=next_attempt_at,
        pay_url=url(invoice, "hosted_invoice_url"),
    )


def _invoice_voided(invoice: JsonObject, _: JsonObject) -> PaymentEvent | None:
    told = about(invoice, _invoice_refs(invoice))
    return None if told is None else PaymentExpired(**told)


def _invoice_payment(link: JsonObject, _: JsonObject) -> PaymentEvent | None:
    refs = PaymentRefs(
        invoice=ref(link, "invoice"),
        payment_intent=ref(link, "payment", "payment_intent"),
        charge=ref(link, "payment", "charge"),
    )
    amount = money(link, "amount_paid")
    if amount is None or len(refs.of_payment()) < 2:
        return None
    return PaymentSucceeded(refs=refs, amount=amount)


def _subscription(subscription: JsonObject, event: JsonObject) -> PaymentEvent | None:
    refs = PaymentRefs(subscription=ref(subscription, "id"))
    told, status = about(subscription, refs), text(subscription, "status")
    if told is None or refs.subscription is None or status not in get_args(SubscriptionStatus):
        return None
    ends = [end for item in objects(subscription, "items", "data") if (end := moment(item, "current_period_end"))]
    return SubscriptionChanged(
        **told,
        status=cast(SubscriptionStatus, status),
        cancel_at_period_end=at(subscription, "cancel_at_period_end") is True,
        current_period_end=max(ends, default=None) or moment(subscription, "current_period_end"),
        ended_at=moment(subscription, "ended_at"),
        tier=tier(subscription),
        collection_paused=isinstance(at(subscription, "pause_collection"), Mapping),
        as_of=moment(event, "created"),
    )


# --- money that goes back ---------------------------------------------------------------------------------------------


def _charge_refunded(charge: JsonObject, event: JsonObject) -> PaymentEvent | None:
    refs = PaymentRefs(
        charge=ref(charge, "id"), payment_intent=ref(charge, "payment_intent"), invoice=ref(charge, "invoice")
    )
    total = money(charge, "amount_refunded")
    if total is None or not refs.of_payment():
        return None
    previous = whole(event, "data", "previous_attributes", "amount_refunded")
    return PaymentRefunded(
        **(about(charge, refs) or {"refs": refs}),
        total=total,
        before=None if previous is None else total.model_copy(update={"amount": previous}),
        of=money(charge, "amount_captured") or money(charge, "amount"),
    )


def _refund(refund: JsonObject, _: JsonObject) -> PaymentEvent | None:
    refs = PaymentRefs(charge=ref(refund, "charge"), payment_intent=ref(refund, "payment_intent"))
    refund_id, amount, status = ref(refund, "id"), money(refund, "amount"), text(refund, "status")
    if refund_id is None or amount is None or not refs.of_payment() or status not in get_args(RefundStatus):
        return None
    return PaymentRefunded(
        **(about(refund, refs) or {"refs": refs}),
        refund_id=refund_id,
        amount=amount,
        status=cast(RefundStatus, status),
    )


def _dispute(dispute: JsonObject, event: JsonObject) -> PaymentEvent | None:
    refs = PaymentRefs(charge=ref(dispute, "charge"), payment_intent=ref(dispute, "payment_intent"))
    dispute_id, amount, status = ref(dispute, "id"), money(dispute, "amount"), text(dispute, "status")
    if dispute_id is None or amount is None or not refs.of_payment() or status not in get_args(DisputeStatus):
        return None
    told = about(dispute, refs) or {"refs": refs}
    told |= {"dispute_id": dispute_id, "amount": amount, "status": cast(DisputeStatus, status)}
    told["reason"] = text(dispute, "reason", most=100) or "general"
    told["funds"] = _FUNDS.get(text(event, "type") or "")
    if status in _CLOSED_DISPUTES:
        return PaymentDisputeClosed(**told)
    return PaymentDisputeOpened(**told, evidence_due_by=moment(dispute, "evidence_details", "due_by"))


def _part(whole_amount: Money, part: int | None) -> Money | None:
    """So much of the amount, and never more than it (a credit may have paid the rest); None for nothing."""
    least = min(part or 0, whole_amount.amount)
    return whole_amount.model_copy(update={"amount": least}) if least else None


def _only_method(thing: JsonObject) -> str | None:
    """The method, when only one can have been used."""
    methods = thing.get("payment_method_types")
    return text(methods[0], most=50) if isinstance(methods, list) and len(methods) == 1 else None


# Each takes the object, and the event that brought it.
_READERS: Mapping[str, Callable[[JsonObject, JsonObject], PaymentEvent | None]] = {
    "checkout.session.completed": _session_settled,
    "checkout.session.async_payment_succeeded": _session_paid_later,
    "checkout.session.async_payment_failed": _session_failed_later,
    "checkout.session.expired": _session_expired,
    "payment_intent.succeeded": _intent_succeeded,
    "payment_intent.payment_failed": _intent_failed,
    "payment_intent.processing": _intent_processing,
    "payment_intent.canceled": _intent_canceled,
    "invoice.paid": _invoice_paid,
    "invoice.payment_failed": _invoice_failed,
    "invoice.voided": _invoice_voided,
    "invoice_payment.paid": _invoice_payment,
    "customer.subscription.created": _subscription,
    "customer.subscription.updated": _subscription,
    "customer.subscription.deleted": _subscription,
    "customer.subscription.paused": _subscription,
    "customer.subscription.resumed": _subscription,
    "charge.refunded": _charge_refunded,
    "refund.created": _refund,
    "refund.updated": _refund,
    "refund.failed": _refund,
    "charge.dispute.created": _dispute,
    "charge.dispute.updated": _dispute,
    "charge.dispute.closed": _dispute,
    "charge.dispute.funds_withdrawn": _dispute,
    "charge.dispute.funds_reinstated": _dispute,
}

TRANSLATED = frozenset(_READERS)
"""The Stripe event types that can mean something to us; the webhook endpoint needs no others."""
