"""Translates one Stripe event into our events, or none. Pure and total: accepts any JSON object, never raises.

Money is always reported: a payment that was received is published even if its object names no student and no item.
Other events are published if their object names a purchase, or may belong to one by its references (refunds, disputes,
the end of a schedule). Consumers connect events by the references that they share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from contracts.envelope import Envelope, Event
from contracts.payments import CustomerDeleted, MandateRevoked, PaymentEvent
from webhook_gateway.fields import JsonObject, object_at, text, timestamp
from webhook_gateway.translators import charges, customers, disputes, intents, invoices, sessions, subscriptions

SOURCE = "webhook-gateway"


def translate(event: Mapping[str, Any], *, received_at: datetime) -> list[Envelope[Event]]:
    """Returns the events to publish for a Stripe event. `received_at` is their time if Stripe gave none."""
    event_id, event_type = text(event, "id", limit=255), text(event, "type", limit=255)
    if event_id is None or (translator := _TRANSLATORS.get(event_type or "")) is None:
        return []
    data = translator(object_at(event, "data", "object"), event)
    if data is None:
        return []
    created = timestamp(event, "created")
    if isinstance(data, PaymentEvent):
        data = data.model_copy(update={"as_of": created})
    envelope = Envelope(
        id=f"{event_id}/{data.type}",
        source=SOURCE,
        subject=_subject(data),
        time=created or received_at,
        data=data,
        correlation_id=_subject(data),
        causation_id=event_id,
    )
    return [envelope]


def _subject(event: Event) -> str:
    match event:
        case PaymentEvent() if event.purchase_id is not None:
            return str(event.purchase_id)
        case PaymentEvent():
            return min(event.refs.of_payment(), default=event.refs.subscription or "unknown")
        case CustomerDeleted():
            return event.customer
        case MandateRevoked():
            return event.payment_method
        case _:
            return "unknown"


_TRANSLATORS: Mapping[str, Callable[[JsonObject, JsonObject], Event | None]] = {
    "checkout.session.completed": sessions.completed,
    "checkout.session.async_payment_succeeded": sessions.async_payment_succeeded,
    "checkout.session.async_payment_failed": sessions.async_payment_failed,
    "checkout.session.expired": sessions.expired,
    "payment_intent.succeeded": intents.succeeded,
    "payment_intent.payment_failed": intents.failed,
    "payment_intent.processing": intents.processing,
    "payment_intent.canceled": intents.canceled,
    "payment_intent.requires_action": intents.requires_action,
    "charge.succeeded": charges.succeeded,
    "charge.captured": charges.succeeded,
    "charge.refunded": charges.refunded,
    "refund.created": charges.refund_changed,
    "refund.updated": charges.refund_changed,
    "refund.failed": charges.refund_changed,
    "charge.dispute.created": disputes.changed,
    "charge.dispute.updated": disputes.changed,
    "charge.dispute.closed": disputes.changed,
    "charge.dispute.funds_withdrawn": disputes.changed,
    "charge.dispute.funds_reinstated": disputes.changed,
    "radar.early_fraud_warning.created": charges.fraud_warned,
    "invoice.paid": invoices.paid,
    "invoice.overpaid": invoices.overpaid,
    "invoice.payment_failed": invoices.payment_failed,
    "invoice.payment_action_required": invoices.payment_action_required,
    "invoice.finalization_failed": invoices.finalization_failed,
    "invoice.marked_uncollectible": invoices.marked_uncollectible,
    "invoice.voided": invoices.voided,
    "invoice_payment.paid": invoices.payment_paid,
    "customer.subscription.created": subscriptions.changed,
    "customer.subscription.updated": subscriptions.changed,
    "customer.subscription.deleted": subscriptions.changed,
    "customer.subscription.paused": subscriptions.changed,
    "customer.subscription.resumed": subscriptions.changed,
    "subscription_schedule.released": subscriptions.schedule_ended,
    "subscription_schedule.canceled": subscriptions.schedule_ended,
    "subscription_schedule.aborted": subscriptions.schedule_ended,
    "customer.deleted": customers.deleted,
    "mandate.updated": customers.mandate_updated,
}

TRANSLATED = frozenset(_TRANSLATORS)
"""The Stripe event types to subscribe the webhook endpoint to; all others are only journaled."""
