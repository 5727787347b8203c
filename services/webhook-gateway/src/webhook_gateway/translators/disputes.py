"""charge.dispute.*"""

from __future__ import annotations

from typing import Literal, cast, get_args

from contracts.payments import DisputeStatus, PaymentDisputeClosed, PaymentDisputeOpened, PaymentEvent, PaymentRefs
from webhook_gateway.fields import JsonObject, money_at, object_id, text, timestamp
from webhook_gateway.purchase import purchase_or_refs

_CLOSED = frozenset({"won", "lost", "warning_closed", "prevented"})
"""Stripe SDK 16.1, Dispute.status. A lost dispute opens again with an appeal (appeal_needs_response)."""


def changed(dispute: JsonObject, event: JsonObject) -> PaymentEvent | None:
    refs = PaymentRefs(charge=object_id(dispute, "charge"), payment_intent=object_id(dispute, "payment_intent"))
    dispute_id, amount, status = object_id(dispute, "id"), money_at(dispute, "amount"), text(dispute, "status")
    if dispute_id is None or amount is None or not refs.of_payment() or status not in get_args(DisputeStatus):
        return None
    purchase = purchase_or_refs(dispute, refs)
    reason = text(dispute, "reason", limit=100) or "general"
    if status in _CLOSED:
        return PaymentDisputeClosed(
            **purchase,
            dispute_id=dispute_id,
            status=cast(DisputeStatus, status),
            amount=amount,
            reason=reason,
            funds=_funds(event),
        )
    return PaymentDisputeOpened(
        **purchase,
        dispute_id=dispute_id,
        status=cast(DisputeStatus, status),
        amount=amount,
        reason=reason,
        evidence_due_by=timestamp(dispute, "evidence_details", "due_by"),
        funds=_funds(event),
    )


def _funds(event: JsonObject) -> Literal["withdrawn", "reinstated"] | None:
    match text(event, "type"):
        case "charge.dispute.funds_withdrawn":
            return "withdrawn"
        case "charge.dispute.funds_reinstated":
            return "reinstated"
        case _:
            return None
