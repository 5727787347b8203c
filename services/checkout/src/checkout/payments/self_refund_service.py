"""A student refunds a purchase alone: all of it, in one commit that also ends the purchase."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid5

from checkout.payments import refund_service, repository
from checkout.payments.domain import (
    ApproveAll,
    PaymentRecord,
    RefundablePurchase,
    RefundRecord,
    RefuseSelfRefund,
    SelfRefundPolicy,
    decide_self_refund,
)
from checkout.payments.purchase_ends import REFUNDED, end_purchase
from checkout.payments.refund_readings import credit_granted, end_membership, require_stripe_payments
from checkout.payments.refund_service import refundable_payments, refused, unknown_payment
from checkout.purchases.context import Buyer, CheckoutContext
from checkout.purchases.repository import PurchaseRow, lock_purchase, read_row
from checkout.purchases.student_repository import read_enrollments, read_progress
from kit.db.unit_of_work import UnitOfWork


@dataclass(frozen=True, kw_only=True)
class SelfRefund:
    """`refunds`: one per payment, that of the requested payment first. `credit`: minor units deducted."""

    refunds: tuple[RefundRecord, ...]
    credit: int


class SelfRefundService:
    def __init__(self, context: CheckoutContext, buyer: Buyer) -> None:
        self._context = context
        self._buyer = buyer
        self._policy = policy_of(context)

    async def refund(self, payment_id: UUID, amount: int | None, *, reason: str, id: UUID) -> SelfRefund:
        """`amount`: minor units; None: everything left. `id`: the refund's id, which identifies a retry.

        A membership is canceled at Stripe first; if the refund is refused after all, it stays canceled. Raises Problem
        403, 404, 409, 422, 502 and 503.
        """
        async with self._context.unit_of_work(self._buyer) as uow:
            payment = await repository.read_payment(uow.db, payment_id)
            purchase = None if payment is None else await read_row(uow.db, payment.purchase_id)
            if payment is None or purchase is None:
                raise unknown_payment()
            if (existing := await repository.find_refund(uow.db, id)) is not None:
                return await _existing(uow, existing)
            await self._decide(uow, purchase, None, credit=0)
            payments = await repository.payments_of(uow.db, purchase.id)
        await require_stripe_payments(self._context, payments)
        credit = await credit_granted(self._context, purchase)
        async with self._context.unit_of_work(self._buyer) as uow:
            await self._decide(uow, purchase, amount, credit=credit)
        await end_membership(self._context, purchase)
        credit = await credit_granted(self._context, purchase)
        async with self._context.unit_of_work(self._buyer) as uow:
            return await self._refund(uow, payment, amount, reason=reason, credit=credit, id=id)

    async def _refund(
        self, uow: UnitOfWork, payment: PaymentRecord, amount: int | None, *, reason: str, credit: int, id: UUID
    ) -> SelfRefund:
        purchase = await lock_purchase(uow.db, payment.purchase_id)
        if purchase is None:
            raise unknown_payment()
        await repository.lock_payments_of(uow.db, purchase.id)
        if (existing := await repository.find_refund(uow.db, id)) is not None:
            return await _existing(uow, existing)
        decision = await self._decide(uow, purchase, amount, credit=credit)
        requested = [each for each in decision.shares if each.payment_id == payment.id]
        first = requested[0] if requested else decision.shares[0]
        refunds = [
            await refund_service.refund(
                uow,
                share.payment_id,
                share.amount,
                reason=reason,
                origin="student",
                by=self._buyer.actor,
                id=id if share is first else uuid5(id, str(share.payment_id)),
            )
            for share in sorted(decision.shares, key=lambda each: each is not first)
        ]
        await end_purchase(uow, purchase, by="student", reason=REFUNDED)
        return SelfRefund(refunds=tuple(refunds), credit=credit)

    async def _decide(self, uow: UnitOfWork, purchase: PurchaseRow, amount: int | None, *, credit: int) -> ApproveAll:
        state = await refundable_purchase(uow, purchase, credit=credit)
        match decide_self_refund(purchase=state, requested=amount, now=uow.now, policy=self._policy):
            case RefuseSelfRefund(code=code):
                raise refused(code, left=state.left, currency=purchase.currency)
            case ApproveAll() as decision:
                return decision


async def refundable_purchase(uow: UnitOfWork, purchase: PurchaseRow, *, credit: int) -> RefundablePurchase:
    enrollments = [
        each
        for each in await read_enrollments(uow.db, purchase.student_id, purchase.covers)
        if each.purchase_id in (None, purchase.id)
    ]
    return RefundablePurchase(
        payments=await refundable_payments(uow, purchase.id),
        ended=purchase.canceled_at is not None,
        completed=any(each.status == "completed" for each in enrollments),
        progress=await read_progress(uow.db, purchase.student_id, purchase.covers),
        credit=credit,
    )


def policy_of(context: CheckoutContext) -> SelfRefundPolicy:
    settings = context.settings
    return SelfRefundPolicy(
        window=timedelta(days=settings.refund_window_days), max_progress=settings.self_refund_max_progress
    )


async def _existing(uow: UnitOfWork, first: RefundRecord) -> SelfRefund:
    """What the first request with this id has made."""
    siblings = [each for each in await repository.refunds_of_purchase(uow.db, first.purchase_id) if each != first]
    return SelfRefund(refunds=(first, *(each for each in siblings if each.origin == "student")), credit=0)
