"""Refund requests: at most one pending per payment, decided once."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from checkout.payments import domain, repository
from checkout.payments.domain import PaymentRecord, RefundRecord, RefundRequestRecord, Refuse
from checkout.payments.problems import REFUND_REQUEST_DECIDED, REFUND_REQUEST_PENDING, UNKNOWN_REFUND_REQUEST
from checkout.payments.refund_service import (
    AdminRefund,
    refund_by_admin,
    refundable_payment,
    refused,
    unknown_payment,
)
from checkout.purchases.repository import lock_purchase
from contracts.audit import Act
from contracts.checkout import RefundDecided, RefundRequested
from contracts.money import Money
from kit.db.unit_of_work import UnitOfWork
from kit.http import audit
from kit.http.problems import Problem


@dataclass(frozen=True, kw_only=True)
class RefundDecision:
    """`amount` in minor units; None: everything left, less `credit` (see AdminRefund)."""

    approved: bool
    amount: int | None = None
    note: str | None = None
    keep_enrollment: bool = False
    credit: int = 0


async def request_refund(
    uow: UnitOfWork, student_id: UUID, payment_intent_id: str, *, reason: str
) -> RefundRequestRecord:
    """Raises Problem 404 for a payment that is not the student's, 409 if it cannot be refunded at all or a request is
    pending already."""
    payment = await repository.payment_by_intent(uow.db, payment_intent_id)
    if payment is None or payment.student_id != student_id:
        raise unknown_payment()
    # its row may just have been merged into an older row of the same payment: then that one
    locked = await repository.lock_payment(uow.db, payment.id)
    payment = locked or await repository.payment_by_intent(uow.db, payment_intent_id)
    if payment is None:
        raise unknown_payment()
    refundable = await refundable_payment(uow, payment)
    decision = domain.decide_refund(payment=refundable, requested=None)
    if isinstance(decision, Refuse):
        raise refused(decision.code, left=refundable.left, currency=payment.currency)
    added = await repository.add_refund_request(uow.db, payment, reason=reason, at=uow.now)
    if added is None:
        pending = await repository.pending_refund_request(uow.db, payment.id)
        raise REFUND_REQUEST_PENDING(refund_request_id=str(pending) if pending else None)
    event = RefundRequested(
        refund_request_id=added.id,
        purchase_id=added.purchase_id,
        student_id=student_id,
        amount=Money(amount=refundable.left, currency=payment.currency),
        reason=reason,
    )
    await uow.publish(event, id=f"refund-request/{added.id}/{event.type}", subject=str(added.purchase_id))
    return added


async def payment_of_request(uow: UnitOfWork, request_id: UUID) -> PaymentRecord:
    """Raises Problem 404."""
    request = await repository.read_refund_request(uow.db, request_id)
    payment = None if request is None else await repository.read_payment(uow.db, request.payment_id)
    if payment is None:
        raise _unknown_request()
    return payment


async def decide_request(
    uow: UnitOfWork, request_id: UUID, decision: RefundDecision, *, by: str
) -> RefundRequestRecord:
    """Raises Problem 404, 409 if it is decided already, and those of a refused refund: then it stays pending."""
    pending = await repository.read_refund_request(uow.db, request_id)
    if pending is None:
        raise _unknown_request()
    await lock_purchase(uow.db, pending.purchase_id)  # then the payment, then the request, as everybody locks them
    await repository.lock_payment(uow.db, pending.payment_id)
    pending = await repository.read_refund_request(uow.db, request_id, lock=True)
    if pending is None:
        raise _unknown_request()
    if pending.status != "pending":
        detail = f"This refund request is already {pending.status}."
        raise REFUND_REQUEST_DECIDED(detail, decision=pending.status)
    made: RefundRecord | None = None
    if decision.approved:
        asked = AdminRefund(
            amount=decision.amount,
            reason=pending.reason,
            by=by,
            credit=decision.credit,
            keep_enrollment=decision.keep_enrollment,
        )
        made, _ = await refund_by_admin(uow, pending.payment_id, asked, origin="request")
    decided = await repository.decide_refund_request(uow.db, request_id, made, by=by, note=decision.note, at=uow.now)
    event = RefundDecided(
        refund_request_id=request_id,
        purchase_id=pending.purchase_id,
        student_id=pending.student_id,
        decision="approved" if made else "rejected",
        amount=made.money if made else None,
    )
    await uow.publish(event, id=f"refund-request/{request_id}/{event.type}", subject=str(pending.purchase_id))
    act = Act.of(
        "refund.decided",
        "refund_request",
        request_id,
        purchase_id=pending.purchase_id,
        student_id=pending.student_id,
        before={"status": pending.status},
        after={"status": decided.status, "refund_id": made.id if made else None},
        reason=decision.note,
    )
    await audit.record(uow, act)
    return decided


def _unknown_request() -> Problem:
    return UNKNOWN_REFUND_REQUEST()
