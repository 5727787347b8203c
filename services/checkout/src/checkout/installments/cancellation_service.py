"""The school cancels an enrollment: refunds it, closes its open installments, and withdraws it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from checkout.cancellation_policy import RefundStep
from checkout.installments import repository, transitions
from checkout.installments.clock import Clock
from checkout.installments.domain import (
    DONE,
    Cancellation,
    RefundShare,
    allocate_in_proportion,
    allocate_refund,
    refund_by_policy,
)
from checkout.installments.payment_service import unknown_enrollment
from checkout.payments import refund_service
from checkout.payments import repository as payments
from checkout.payments.domain import NOT_MONEY, PaymentRecord
from checkout.payments.purchase_ends import end_purchase
from checkout.payments.refund_readings import credit_granted, end_membership
from checkout.problems import ENROLLMENT_OVER, PAYMENT_IN_PROGRESS, REFUND_TOO_LARGE
from checkout.purchases import repository as purchases
from checkout.purchases import subscriptions
from checkout.purchases.context import Buyer, CheckoutContext
from checkout.purchases.domain import OPEN, State
from checkout.purchases.repository import PurchaseRow
from checkout.purchases.service import PurchaseService
from checkout.units import money_of
from contracts.audit import Act
from contracts.money import Money
from kit.db.unit_of_work import UnitOfWork
from kit.http import audit


@dataclass(frozen=True, kw_only=True)
class CanceledEnrollment:
    """`cancellation.paid`: what had been paid; `cancellation.refunded`: what is refunded of it now."""

    enrollment_id: UUID
    cancellation: Cancellation


class CancellationService:
    def __init__(
        self,
        context: CheckoutContext,
        purchase_service: PurchaseService,
        clock: Clock,
        policy: tuple[RefundStep, ...],
        buyer: Buyer,
    ) -> None:
        self._context = context
        self._purchases = purchase_service
        self._clock = clock
        self._policy = policy
        self._buyer = buyer

    async def cancel(self, id: UUID, reason: str, refund_amount: Decimal | None) -> CanceledEnrollment:
        """Cancels it once: a retry returns the first result. `id`: the enrollment's or the purchase's.

        `refund_amount`: major units; None: by the policy. Raises Problem 404, 409 and 422.
        """
        async with self._context.unit_of_work(self._buyer) as uow:
            found = await purchases.find_purchase(uow.db, id)
        if found is None:
            raise unknown_enrollment()
        refund = None if refund_amount is None else money_of(refund_amount, found.currency, field="refund_amount")
        if found.state in OPEN and found.payment_flow != "installments":
            await self._close_at_stripe(found)
        credit = 0
        if refund is None:  # what was credited for the next invoices is not refunded as well
            await end_membership(self._context, found)
            credit = await credit_granted(self._context, found)
        async with self._context.unit_of_work(self._buyer) as uow:
            purchase = await purchases.lock_purchase(uow.db, found.id)
            assert purchase is not None  # noqa: S101  never deleted
            existing = await repository.read_cancellation(uow.db, purchase.id)
            if existing is not None:
                return CanceledEnrollment(enrollment_id=purchase.first_enrollment_id, cancellation=existing)
            if purchase.state in (State.EXPIRED, State.FAILED) and found.state not in OPEN:
                raise ENROLLMENT_OVER("This enrollment ended without being paid.")
            cancellation = await self._cancel(uow, purchase, reason, refund, credit=credit)
            return CanceledEnrollment(enrollment_id=purchase.first_enrollment_id, cancellation=cancellation)

    async def _cancel(
        self, uow: UnitOfWork, purchase: PurchaseRow, reason: str, requested: Money | None, *, credit: int
    ) -> Cancellation:
        records = await payments.payments_of(uow.db, purchase.id)
        if any(each.manual_id is not None and each.status != "succeeded" for each in records):
            detail = "A manual payment was recorded a moment ago; try again once it has been processed."
            raise PAYMENT_IN_PROGRESS(detail)
        paid_records = [
            each for each in records if each.status == "succeeded" and each.method not in NOT_MONEY and each.amount
        ]
        refundable = {each.id: await _refundable(uow, each) for each in paid_records}
        shares = await self._shares(uow, purchase, paid_records, refundable, requested, credit=credit)
        # a refund locks its payment; everybody locks payments in the order of their ids
        for share in sorted(shares, key=lambda each: str(each.payment)):
            await refund_service.refund(
                uow, share.payment, share.amount, reason=reason, origin="cancellation", by=self._buyer.actor
            )
        paid, refund = sum(each.amount for each in paid_records), sum(share.amount for share in shares)
        cancellation = Cancellation(
            purchase_id=purchase.id,
            student_id=purchase.student_id,
            reason=reason,
            paid=paid,
            refunded=refund,
            currency=purchase.currency,
            canceled_by=self._buyer.actor,
        )
        await repository.add_cancellation(uow.db, cancellation)
        await self._end(uow, purchase, reason)
        act = Act.of(
            "enrollment.canceled",
            "purchase",
            purchase.id,
            purchase_id=purchase.id,
            student_id=purchase.student_id,
            after={"paid": paid, "refunded": refund, "currency": purchase.currency},
            reason=reason,
        )
        await audit.record(uow, act)
        return cancellation

    async def _shares(
        self,
        uow: UnitOfWork,
        purchase: PurchaseRow,
        paid_records: Sequence[PaymentRecord],
        refundable: Mapping[UUID, int],
        requested: Money | None,
        *,
        credit: int,
    ) -> list[RefundShare[UUID]]:
        """What is refunded of each payment, newest first. Each payer of a purchase with a co-pay has a part of their
        own: neither what the other was refunded before nor the other's dispute is taken from it."""
        if requested is not None:
            most = sum(refundable.values())
            if requested.amount > most:
                raise REFUND_TOO_LARGE(most=most, currency=purchase.currency)
            allocate = allocate_refund if purchase.co_pay is None else allocate_in_proportion
            return allocate(requested.amount, list(refundable.items()))
        first_paid_at, now = await _first_paid_at(uow, paid_records), await self._clock.now_in(uow.db)
        shares = list[RefundShare[UUID]]()
        for payer in dict.fromkeys(each.payer for each in paid_records):
            own = [each for each in paid_records if each.payer == payer]
            paid, most = sum(each.amount for each in own), sum(refundable[each.id] for each in own)
            by_policy = refund_by_policy(
                policy=self._policy, paid=paid, refunded=paid - most, first_paid_at=first_paid_at, now=now
            )
            refund = max(min(by_policy, most - credit), 0)
            shares += allocate_refund(refund, [(each.id, refundable[each.id]) for each in own])
        return shares

    async def _end(self, uow: UnitOfWork, purchase: PurchaseRow, reason: str) -> None:
        for installment in await repository.of_purchase(uow.db, purchase.id):
            if installment.status not in (*DONE, "processing"):
                await transitions.close(uow, purchase, installment, because="ended")
        if purchase.stripe_subscription_id is not None:
            await subscriptions.enqueue_cancel(
                uow, purchase_id=purchase.id, subscription_id=purchase.stripe_subscription_id
            )
        await end_purchase(uow, purchase, by="school", reason=reason)

    async def _close_at_stripe(self, purchase: PurchaseRow) -> None:
        """Closes an unpaid page or intent first. Raises Problem 409 if it was paid a moment ago."""
        async with self._context.unit_of_work(self._buyer) as uow:
            related = await purchases.read_purchases(uow.db, purchase.student_id, purchase.covers)
        same = next((each for each in related if each.id == purchase.id and each.state in OPEN), None)
        if same is not None:
            await self._purchases.close(same, self._buyer)


async def _refundable(uow: UnitOfWork, payment: PaymentRecord) -> int:
    """Minor units; nothing of a disputed payment, which is resolved with the payer's bank."""
    refundable = await refund_service.refundable_payment(uow, payment)
    if refundable.disputed or refundable.channel is None:
        return 0
    return refundable.left


async def _first_paid_at(uow: UnitOfWork, paid_records: Sequence[PaymentRecord]) -> datetime | None:
    """By the clock that installments fall due by, if checkout collects them; otherwise the payments' own times."""
    if not paid_records:
        return None
    installments = await repository.of_purchase(uow.db, paid_records[0].purchase_id)
    times = [each.paid_at for each in installments if each.paid_at is not None]
    return min(times or [each.paid_at for each in paid_records if each.paid_at is not None], default=None)
