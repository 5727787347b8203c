"""Refunding a payment, for every caller. The payment's row is locked while the refund is decided, so the same money
cannot be reserved twice."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
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
from checkout.payments.problems import (
    AMOUNT_INVALID,
    AMOUNT_TOO_LARGE,
    COURSE_COMPLETED,
    COURSE_IN_PROGRESS,
    NOTHING_TO_REFUND,
    NOTHING_WAS_PAID,
    PAID_BY_HAND,
    PARTIAL_REFUND_NEEDS_ADMIN,
    PAYMENT_DISPUTED,
    PAYMENT_NOT_SUCCEEDED,
    PAYMENT_PROCESSING,
    PURCHASE_ENDED,
    REFUND_CHANNEL_UNKNOWN,
    REFUND_CREDITED,
    REFUND_WINDOW_OVER,
)
from checkout.payments.purchase_ends import REFUNDED, accept_nothing, end_purchase
from checkout.problems import UNKNOWN_PAYMENT
from checkout.purchases.repository import lock_purchase
from contracts.audit import Act
from contracts.payments import DisputeStatus, PaymentRefs, PaymentRefunded
from kit.db.unit_of_work import UnitOfWork
from kit.http import audit
from kit.http.problems import Problem, ProblemType

log = structlog.get_logger(__name__)

REFUND = "refund"
"""The kind of job that refunds at Stripe."""

_REFUSALS: dict[domain.SelfRefusal, ProblemType] = {
    "payment_not_succeeded": PAYMENT_NOT_SUCCEEDED,
    "nothing_was_paid": NOTHING_WAS_PAID,
    "payment_disputed": PAYMENT_DISPUTED,
    "nothing_to_refund": NOTHING_TO_REFUND,
    "refund_channel_unknown": REFUND_CHANNEL_UNKNOWN,
    "amount_invalid": AMOUNT_INVALID,
    "amount_too_large": AMOUNT_TOO_LARGE,
    "purchase_ended": PURCHASE_ENDED,
    "payment_processing": PAYMENT_PROCESSING,
    "paid_by_hand": PAID_BY_HAND,
    "course_completed": COURSE_COMPLETED,
    "course_in_progress": COURSE_IN_PROGRESS,
    "refund_window_over": REFUND_WINDOW_OVER,
    "refund_credited": REFUND_CREDITED,
    "partial_refund_needs_admin": PARTIAL_REFUND_NEEDS_ADMIN,
}
_LOST: Set[DisputeStatus] = {"needs_response", "under_review", "lost", "appeal_needs_response", "appeal_under_review"}
_INQUIRY: Set[DisputeStatus] = {"warning_needs_response", "warning_under_review"}


@dataclass(frozen=True, kw_only=True)
class AdminRefund:
    """What an admin asks for. `amount`: minor units; None: everything left, less `credit`.

    `credit`: minor units that the purchase's subscription has added to the credit balance at Stripe. `channel`: manual,
    if the admin returns the money by hand; None: by the payment's references.
    """

    amount: int | None
    reason: str
    by: str
    credit: int = 0
    channel: RefundChannel | None = None
    keep_enrollment: bool = False


async def refund_by_admin(
    uow: UnitOfWork, payment_id: UUID, asked: AdminRefund, *, origin: RefundOrigin, id: UUID | None = None
) -> tuple[RefundRecord, bool]:
    """The refund, and whether it ended the purchase: everything left of it is refunded, and the enrollment is not kept.

    Raises Problem 404, 409 or 422.
    """
    payment = await repository.read_payment(uow.db, payment_id)
    purchase = None if payment is None else await lock_purchase(uow.db, payment.purchase_id)
    if payment is None or purchase is None:
        raise unknown_payment()
    amount = asked.amount
    if amount is None and asked.credit:
        amount = (await refundable_payment(uow, payment)).left - asked.credit
        if amount < 1:
            raise refused("refund_credited", left=0, currency=payment.currency)
    made = await refund(
        uow, payment_id, amount, reason=asked.reason, origin=origin, by=asked.by, channel=asked.channel, id=id
    )
    act = Act.of(
        "refund.created",
        "refund",
        made.id,
        purchase_id=made.purchase_id,
        student_id=made.student_id,
        references=payment.refs,
        after={**made.money.model_dump(), "keep_enrollment": asked.keep_enrollment},
        reason=asked.reason if origin == "admin" else None,
    )
    await audit.record(uow, act)
    left = sum(each.left for each in await refundable_payments(uow, purchase.id) if each.is_money)
    if left > (asked.credit if asked.amount is None else 0):
        return made, False
    if asked.keep_enrollment:
        await accept_nothing(uow, purchase, refund_id=made.id)
        return made, False
    return made, await end_purchase(uow, purchase, by="school", reason=REFUNDED)


async def refund(
    uow: UnitOfWork,
    payment_id: UUID,
    amount: int | None,
    *,
    reason: str,
    origin: RefundOrigin,
    by: str,
    channel: RefundChannel | None = None,
    id: UUID | None = None,
) -> RefundRecord:
    """Refunds `amount` minor units of the payment (None: everything left), in the caller's transaction.

    The refund is pending until Stripe has made it; money that did not come through Stripe is refunded by hand and
    recorded as succeeded. `channel`: where, if it is not the one that the payment's references suggest. `id`: the
    refund's id, if the caller has one that identifies a retry; an existing refund with this id is returned. Locks the
    payment; callers that refund several payments in one transaction, or hold other rows of the purchase, lock the
    purchase first, as the event handlers do. Raises Problem 404, 409 or 422.
    """
    payment = await repository.lock_payment(uow.db, payment_id)
    if payment is None:
        raise unknown_payment()
    if id is not None and (existing := await repository.find_refund(uow.db, id)) is not None:
        return existing
    refundable = await refundable_payment(uow, payment, channel=channel)
    match domain.decide_refund(payment=refundable, requested=amount):
        case Refuse(code=code):
            raise refused(code, left=refundable.left, currency=payment.currency)
        case Approve(amount=approved, channel=approved_channel):
            id = id or uuid4()
            return await _add(uow, payment, approved, approved_channel, id=id, reason=reason, origin=origin, by=by)


async def refundable_payment(
    uow: UnitOfWork, payment: PaymentRecord, *, channel: RefundChannel | None = None
) -> RefundablePayment:
    disputes = await repository.dispute_statuses(uow.db, payment.purchase_id)
    refunds = await repository.refunds_of_payment(uow.db, payment.id)
    return _refundable(payment, refunds, disputes.get(payment.id, set()), channel=channel)


async def refundable_payments(uow: UnitOfWork, purchase_id: UUID) -> tuple[RefundablePayment, ...]:
    """All payments of the purchase, newest first."""
    disputes = await repository.dispute_statuses(uow.db, purchase_id)
    refunds = await repository.refunds_of_purchase(uow.db, purchase_id)
    return tuple(
        _refundable(payment, [each for each in refunds if each.payment_id == payment.id], disputes.get(payment.id, ()))
        for payment in await repository.payments_of(uow.db, purchase_id)
    )


def _refundable(
    payment: PaymentRecord,
    refunds: Iterable[RefundRecord],
    disputes: Iterable[DisputeStatus],
    *,
    channel: RefundChannel | None = None,
) -> RefundablePayment:
    statuses = set(disputes)
    return RefundablePayment(
        id=payment.id,
        status=payment.status,
        amount=payment.amount,
        refunded=payment.refunded,
        reserved=sum(each.reserved for each in refunds),
        method=payment.method,
        inquiry=bool(statuses & _INQUIRY),
        disputed=bool(statuses & _LOST),
        paid_at=payment.paid_at or payment.created_at,
        channel=channel or payment.refund_channel,
    )


def refused(code: domain.SelfRefusal, *, left: int, currency: str) -> Problem:
    return _REFUSALS[code](left=left, currency=currency)


def unknown_payment() -> Problem:
    return UNKNOWN_PAYMENT()


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
            refs=PaymentRefs(manual=payment.manual_id, invoice=payment.stripe_invoice_id),
            purchase_id=payment.purchase_id,
            student_id=payment.student_id,
            refund_id=str(id),
            amount=added.money,
            status="succeeded",
            as_of=uow.now,
        )
        await uow.publish(event, id=f"refund/{id}/{event.type}", subject=str(payment.purchase_id))
    log.info("refund added", refund=str(id), payment=str(payment.id), origin=origin, channel=channel)
    return added
