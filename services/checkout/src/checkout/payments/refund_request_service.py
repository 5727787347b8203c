"""Requests for money back: at most one open for a payment, decided once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select, update
from sqlalchemy.dialects.postgresql import insert

from checkout.payments import domain, repository
from checkout.payments.domain import Refuse
from checkout.payments.refund_service import Refund, paid_of, refund, refused, unknown_payment
from checkout.payments.tables import refund_requests
from contracts.checkout import RefundDecided, RefundRequested
from contracts.money import Money
from kit.db.unit_of_work import UnitOfWork
from kit.http.errors import Problem


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`amount` in minor units; None: all that is left."""

    approved: bool
    amount: int | None = None
    note: str | None = None


async def ask(uow: UnitOfWork, student_id: UUID, payment_intent_id: str, *, reason: str) -> Row[Any]:
    """Raises Problem 404 for a payment that is not the student's, 409 for one that cannot be refunded at all, or that
    is asked for already."""
    payment = await repository.payment_by_intent(uow.db, payment_intent_id)
    if payment is None or payment.student_id != student_id:
        raise unknown_payment()
    # where its row was just joined to an older one of the same payment, that one
    locked = await repository.lock_payment(uow.db, payment.id)
    payment = locked or await repository.payment_by_intent(uow.db, payment_intent_id)
    if payment is None:
        raise unknown_payment()
    paid = await paid_of(uow, payment)
    judged = domain.refund(paid=paid, wanted=None, now=uow.now, window=None)
    if isinstance(judged, Refuse):
        raise refused(judged.code, left=paid.left, currency=payment.currency)
    added = await uow.db.execute(
        insert(refund_requests)
        .values(
            payment_id=payment.id,
            purchase_id=payment.purchase_id,
            student_id=student_id,
            reason=reason,
            created_at=uow.now,
            updated_at=uow.now,
        )
        .on_conflict_do_nothing()
        .returning(refund_requests)
    )
    row: Row[Any] | None = added.one_or_none()
    if row is None:
        open_one = (refund_requests.c.payment_id == payment.id, refund_requests.c.status == "pending")
        id = (await uow.db.execute(select(refund_requests.c.id).where(*open_one))).scalar_one_or_none()
        detail = "You have asked for this already; an admin will decide, and you will be told."
        raise Problem(409, "refund_request_pending", detail, refund_request_id=str(id) if id else None)
    event = RefundRequested(
        refund_request_id=row.id,
        purchase_id=row.purchase_id,
        student_id=student_id,
        amount=Money(amount=paid.left, currency=payment.currency),
        reason=reason,
    )
    await uow.publish(event, id=f"refund-request/{row.id}/{event.type}", subject=str(row.purchase_id))
    return row


async def decide(uow: UnitOfWork, request_id: UUID, verdict: Verdict, *, by: str) -> Row[Any]:
    """Raises Problem 404, 409 when it is decided already, and whatever refuses the refund: then it stays open."""
    wanted = select(refund_requests).where(refund_requests.c.id == request_id)
    asked = (await uow.db.execute(wanted)).one_or_none()
    if asked is None:
        raise Problem(404, "unknown_refund_request", "There is none; GET /api/admin/refund-requests lists them.")
    await repository.lock_payment(uow.db, asked.payment_id)  # before the request, as everybody does
    asked = (await uow.db.execute(wanted.with_for_update())).one()
    if asked.status != "pending":
        detail = f"This request is {asked.status} already."
        raise Problem(409, "refund_request_decided", detail, decision=asked.status)
    given: Refund | None = None
    if verdict.approved:
        given = await refund(uow, asked.payment_id, verdict.amount, reason=asked.reason, origin="request", by=by)
    decided = await uow.db.execute(
        update(refund_requests)
        .where(refund_requests.c.id == request_id)
        .values(
            status="approved" if given else "rejected",
            decided_amount=given.amount.amount if given else None,
            decided_by=by,
            decided_at=uow.now,
            note=verdict.note,
            refund_id=given.id if given else None,
            updated_at=uow.now,
        )
        .returning(refund_requests)
    )
    event = RefundDecided(
        refund_request_id=request_id,
        purchase_id=asked.purchase_id,
        student_id=asked.student_id,
        decision="approved" if given else "rejected",
        amount=given.amount if given else None,
    )
    await uow.publish(event, id=f"refund-request/{request_id}/{event.type}", subject=str(asked.purchase_id))
    row: Row[Any] = decided.one()
    return row
