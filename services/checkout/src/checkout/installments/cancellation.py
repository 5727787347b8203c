"""The school ends an enrollment: what goes back, what is not charged any more, and that the enrollment is given back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, update

from checkout.cancellation_policy import RefundStep
from checkout.installments import repository, transitions, views
from checkout.installments.clock import Clock
from checkout.installments.domain import DONE, refund_by_policy, spread
from checkout.installments.payment import unknown_enrollment
from checkout.payments import refund_service
from checkout.payments.domain import NOT_MONEY
from checkout.purchases import plans
from checkout.purchases import repository as purchases
from checkout.purchases.context import Buyer, Desk
from checkout.purchases.domain import OPEN, State
from checkout.purchases.service import Purchasing
from checkout.purchases.tables import purchases as purchase_rows
from contracts.money import Money
from contracts.payments import PaymentRefs, PurchaseCanceled
from kit.db.unit_of_work import UnitOfWork
from kit.http.errors import Problem


@dataclass(frozen=True, kw_only=True)
class Canceled:
    """`paid`: what had come in; `refunded`: what goes back of it now."""

    enrollment_id: UUID
    purchase_id: UUID
    reason: str
    paid: Money
    refunded: Money


class Canceling:
    def __init__(
        self, desk: Desk, purchasing: Purchasing, clock: Clock, policy: tuple[RefundStep, ...], buyer: Buyer
    ) -> None:
        self._desk = desk
        self._purchasing = purchasing
        self._clock = clock
        self._policy = policy
        self._buyer = buyer

    async def cancel(self, id: UUID, reason: str, refund_amount: int | None) -> Canceled:
        """The same again answers the same. Raises Problem 404, 409 and 422."""
        async with self._desk.uow(self._buyer) as uow:
            found = await repository.find_purchase(uow.db, id)
        if found is None:
            raise unknown_enrollment()
        if found.state in OPEN and found.how != "schedule":
            await self._close_at_stripe(found)
        async with self._desk.uow(self._buyer) as uow:
            purchase = await purchases.lock_purchase(uow.db, found.id)
            assert purchase is not None  # noqa: S101  never deleted
            if (known := await repository.read_cancellation(uow.db, purchase.id)) is not None:
                return _canceled(purchase, known)
            if purchase.state in (State.EXPIRED, State.FAILED) and found.state not in OPEN:
                raise Problem(409, "enrollment_over", "This enrollment was never paid, and has ended already.")
            return await self._cancel(uow, purchase, reason, refund_amount)

    async def _cancel(self, uow: UnitOfWork, purchase: Row[Any], reason: str, wanted: int | None) -> Canceled:
        made = await repository.payments_of(uow.db, purchase.id)
        if any(each.manual_id is not None and each.status != "succeeded" for each in made):
            detail = "Money has just been recorded by hand; try again when it has been counted, in a moment."
            raise Problem(409, "payment_in_progress", detail)
        came = [each for each in made if each.status == "succeeded" and each.method not in NOT_MONEY and each.amount]
        paid = sum(each.amount for each in came)
        left = []
        for each in came:  # newest first; what a bank has in its hands is settled there
            of = await refund_service.paid_of(uow, each)
            left.append((each.id, 0 if of.disputed or of.dispute_lost or of.way is None else of.left))
        most = sum(amount for _, amount in left)
        back = await self._back(uow, came, paid=paid, most=most) if wanted is None else wanted
        if back > most:
            detail = "That is more than was paid and has not gone back yet; see `most`."
            raise Problem(422, "refund_too_large", detail, most=most, currency=purchase.currency)
        # a refund locks its payment: in the order of their ids, whoever does it
        for part in sorted(spread(back, left), key=lambda each: str(each.payment)):
            await refund_service.refund(
                uow, part.payment, part.amount, reason=reason, origin="cancellation", by=self._buyer.actor
            )
        values = {"purchase_id": purchase.id, "student_id": purchase.student_id, "reason": reason, "paid": paid}
        # what is only on its way is not counted: when it comes, it goes back by itself
        counted = sorted({ref for each in made if each.status == "succeeded" for ref in each.refs})
        values |= {"refunded": back, "currency": purchase.currency, "counted": counted}
        await repository.add_cancellation(uow.db, **values, canceled_by=self._buyer.actor)
        await self._end(uow, purchase, reason)
        known = await repository.read_cancellation(uow.db, purchase.id)
        assert known is not None  # noqa: S101
        return _canceled(purchase, known)

    async def _back(self, uow: UnitOfWork, came: list[Row[Any]], *, paid: int, most: int) -> int:
        """By the policy, and never more than can go back."""
        first = await self._first_paid_at(uow, came)
        by_policy = refund_by_policy(
            policy=self._policy,
            paid=paid,
            refunded=paid - most,
            first_paid_at=first,
            now=await self._clock.now_in(uow.db),
        )
        return min(by_policy, most)

    async def _first_paid_at(self, uow: UnitOfWork, came: list[Row[Any]]) -> datetime | None:
        """By the clock that amounts fall due by, where they are our own."""
        times = [each.paid_at for each in came if each.paid_at]
        if came:
            times = [
                row.paid_at for row in await repository.of_purchase(uow.db, came[0].purchase_id) if row.paid_at
            ] or times
        return min(times, default=None)

    async def _end(self, uow: UnitOfWork, purchase: Row[Any], reason: str) -> None:
        for row in await repository.of_purchase(uow.db, purchase.id):
            if row.status not in (*DONE, "processing"):
                await transitions.close(uow, purchase, row, because="ended")
        if purchase.stripe_subscription_id is not None:
            await plans.want_cancel(uow, purchase_id=purchase.id, subscription_id=purchase.stripe_subscription_id)
        await purchases.close_purchase(uow.db, purchase.id, state=State.CANCELED, at=uow.now)
        values = {"state": State.CANCELED.value, "canceled_at": uow.now, "cancel_reason": reason}
        await uow.db.execute(
            update(purchase_rows).where(purchase_rows.c.id == purchase.id).values(**values, updated_at=uow.now)
        )
        event = PurchaseCanceled(**transitions.about(purchase), refs=PaymentRefs(), reason=reason)
        await uow.publish(event, id=f"{purchase.id}/{event.type}", subject=str(purchase.id))

    async def _close_at_stripe(self, row: Row[Any]) -> None:
        """A page or an intent that nobody has paid is closed there first. Raises Problem 409 when somebody just has."""
        async with self._desk.uow(self._buyer) as uow:
            known = await purchases.read_purchases(uow.db, row.student_id, row.covers)
        mine = next((each for each in known if each.id == row.id and each.state in OPEN), None)
        if mine is not None:
            await self._purchasing.close(mine, self._buyer)


def _canceled(purchase: Row[Any], row: Row[Any]) -> Canceled:
    return Canceled(
        enrollment_id=views.enrollment_of(purchase),
        purchase_id=purchase.id,
        reason=row.reason,
        paid=Money(amount=row.paid, currency=row.currency),
        refunded=Money(amount=row.refunded, currency=row.currency),
    )
