"""Refunding a payment, for every caller. The payment's row is locked while the refund is decided, so the same money
cannot be reserved twice."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import structlog

from checkout.payments import domain, repository
from checkout.payments.domain import (
    Approve,
    PaymentRecord,
    RefundablePayment,
    RefundChannel,
    RefundOrigin,
    RefundRecord,
    Refuse,
)
from contracts.payments import PaymentRefs, PaymentRefunded
from kit.db.unit_of_work import UnitOfWork
from kit.http.errors import Problem

log = structlog.get_logger(__name__)

REFUND = "refund"
"""The kind of job that refunds at Stripe."""

_REFUSALS: dict[domain.Refusal, tuple[int, str]] = {
    "payment_not_succeeded": (409, "This payment has not succeeded, so there is nothing to refund."),
    "nothing_was_paid": (409, "This payment was waived or fully discounted; there is no money to refund."),
    "payment_disputed": (409, "This payment is disputed; it is resolved with the payer's bank, not by a refund."),
    "refund_window_over": (409, "The refund window is over. Send a refund request, and an admin will decide."),
    "nothing_to_refund": (409, "This payment has been refunded in full, or the refunds are pending."),
    "refund_channel_unknown": (409, "This payment is neither Stripe's nor recorded by hand; refund it elsewhere."),
    "amount_invalid": (422, "The refund amount must be at least 1."),
    "amount_too_large": (422, "Amount exceeds the refundable balance (`left`)."),
}


async def refund(
    uow: UnitOfWork,
    payment_id: UUID,
    amount: int | None,
    *,
    reason: str,
    origin: RefundOrigin,
    by: str,
    window: timedelta | None = None,
    id: UUID | None = None,
) -> RefundRecord:
    """Refunds `amount` minor units of the payment (None: everything left), in the caller's transaction.

    The refund is pending until Stripe has made it; money that did not come through Stripe is refunded by hand and
    recorded as succeeded. `window`: how long after the payment, None for no limit. `id`: the refund's id, if the caller
    has one that identifies a retry; an existing refund with this id is returned. Locks the payment; callers that refund
    several payments in one transaction, or hold other rows of the purchase, lock the purchase first, as the event
    handlers do. Raises Problem 404, 409 or 422.
    """
    payment = await repository.lock_payment(uow.db, payment_id)
    if payment is None:
        raise unknown_payment()
    if id is not None and (existing := await repository.find_refund(uow.db, id)) is not None:
        return existing
    refundable = await refundable_payment(uow, payment)
    match domain.decide_refund(payment=refundable, requested=amount, now=uow.now, window=window):
        case Refuse(code=code):
            raise refused(code, left=refundable.left, currency=payment.currency)
        case Approve(amount=approved, channel=channel):
            id = id or uuid4()
            return await _add(uow, payment, approved, channel, id=id, reason=reason, origin=origin, by=by)


async def refundable_payment(uow: UnitOfWork, payment: PaymentRecord) -> RefundablePayment:
    refunds = await repository.refunds_of_payment(uow.db, payment.id)
    return RefundablePayment(
        status=payment.status,
        amount=payment.amount,
        refunded=payment.refunded,
        reserved=sum(each.reserved for each in refunds),
        method=payment.method,
        disputed=payment.disputed,
        dispute_lost=await repository.lost_dispute(uow.db, payment.id),
        paid_at=payment.paid_at or payment.created_at,
        channel=payment.refund_channel,
    )


def refused(code: domain.Refusal, *, left: int, currency: str) -> Problem:
    status, detail = _REFUSALS[code]
    return Problem(status, code, detail, left=left, currency=currency)


def unknown_payment() -> Problem:
    return Problem(404, "unknown_payment", "Payment not found; GET /api/payments/history/customer lists yours.")


async def _add(
    uow: UnitOfWork,
    payment: PaymentRecord,
    amount: int,
    channel: RefundChannel,
    *,
    id: UUID,
    reason: str,
    origin: RefundOrigin,
    by: str,
) -> RefundRecord:
    added = await repository.add_refund(
        uow.db,
        at=uow.now,
        id=id,
        payment_id=payment.id,
        purchase_id=payment.purchase_id,
        student_id=payment.student_id,
        amount=amount,
        currency=payment.currency,
        reason=reason,
        origin=origin,
        requested_by=by,
        status="pending" if channel == "stripe" else "succeeded",
        created_at=uow.now,
    )
    if channel == "stripe":
        payload = {
            "refund_id": str(id),
            "purchase_id": str(payment.purchase_id),
            "amount": amount,
            "payment_intent": payment.stripe_payment_intent_id,
            "charge": payment.stripe_charge_id,
            "invoice": payment.stripe_invoice_id,
        }
        await uow.enqueue(REFUND, key=str(id), payload=payload)
    else:
        event = PaymentRefunded(
            refs=PaymentRefs(manual=payment.manual_id),
            purchase_id=payment.purchase_id,
            student_id=payment.student_id,
            refund_id=str(id),
            amount=added.money,
            status="succeeded",
        )
        await uow.publish(event, id=f"refund/{id}/{event.type}", subject=str(payment.purchase_id))
    log.info("refund added", refund=str(id), payment=str(payment.id), origin=origin, channel=channel)
    return added
