"""charge.*, refund.* and radar.early_fraud_warning.created; disputes are in a module of their own"""

from __future__ import annotations

from typing import cast, get_args

from contracts.payments import (
    PaymentEvent,
    PaymentFraudWarned,
    PaymentRefs,
    PaymentRefunded,
    PaymentSucceeded,
    RefundStatus,
)
from webhook_gateway.fields import JsonObject, integer, money_at, object_id, text, value_at
from webhook_gateway.purchase import purchase_or_refs, received_fields
from webhook_gateway.translators.payment_methods import method_details


def _refs(charge: JsonObject) -> PaymentRefs:
    return PaymentRefs(
        charge=object_id(charge, "id"),
        payment_intent=object_id(charge, "payment_intent"),
        invoice=object_id(charge, "invoice"),  # older API versions
        customer=object_id(charge, "customer"),
    )


def succeeded(charge: JsonObject, _: JsonObject) -> PaymentEvent | None:
    """The only event that has the details of the payment method.

    Stripe SDK 16.1, Charge.captured: a charge that is only authorized succeeds as well, and is captured later.
    """
    amount = money_at(charge, "amount_captured")
    purchase = received_fields(charge, _refs(charge), amount)
    if purchase is None or amount is None or charge.get("captured") is not True:
        return None
    details = method_details(charge)
    return PaymentSucceeded(**purchase, amount=amount, method=details.type if details else None, details=details)


def refunded(charge: JsonObject, event: JsonObject) -> PaymentEvent | None:
    refs, total = _refs(charge), money_at(charge, "amount_refunded")
    if total is None or not refs.of_payment():
        return None
    previous = integer(event, "data", "previous_attributes", "amount_refunded")
    return PaymentRefunded(
        **purchase_or_refs(charge, refs),
        total=total,
        before=None if previous is None else total.model_copy(update={"amount": previous}),
        of=money_at(charge, "amount_captured") or money_at(charge, "amount"),
    )


def refund_changed(refund: JsonObject, _: JsonObject) -> PaymentEvent | None:
    refs = PaymentRefs(charge=object_id(refund, "charge"), payment_intent=object_id(refund, "payment_intent"))
    refund_id, amount, status = object_id(refund, "id"), money_at(refund, "amount"), text(refund, "status")
    if refund_id is None or amount is None or not amount.amount:
        return None
    if not refs.of_payment() or status not in get_args(RefundStatus):
        return None
    return PaymentRefunded(
        **purchase_or_refs(refund, refs),
        refund_id=refund_id,
        amount=amount,
        status=cast(RefundStatus, status),
    )


def fraud_warned(warning: JsonObject, _: JsonObject) -> PaymentEvent | None:
    """Stripe SDK 16.1, radar.EarlyFraudWarning. It has no metadata."""
    refs = PaymentRefs(charge=object_id(warning, "charge"), payment_intent=object_id(warning, "payment_intent"))
    if not refs.of_payment():
        return None
    return PaymentFraudWarned(
        **purchase_or_refs(warning, refs),
        fraud_type=text(warning, "fraud_type", limit=100) or "misc",
        actionable=value_at(warning, "actionable") is not False,
    )
