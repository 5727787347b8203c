"""Money that did not come by Stripe: written down by an admin, and told as any other money is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID, uuid4

from sqlalchemy import Row

from checkout.installments import repository, transitions
from checkout.installments.clock import Clock
from checkout.installments.domain import PAYABLE
from checkout.installments.payment import not_due, unknown_schedule
from checkout.installments.payment_requests import Means, handed_out
from checkout.payments.repository import insert_payment
from checkout.purchases import repository as purchases
from checkout.purchases.context import Buyer, Desk, in_our_words, refused_by_stripe
from checkout.stripe_client import StripeRefuses
from contracts.money import Money
from contracts.payments import PaymentRefs, PaymentSucceeded
from kit.db.unit_of_work import UnitOfWork
from kit.http.errors import Problem

Method = Literal["cash", "check", "bank_transfer", "waiver"]
_ROUNDS = 5


@dataclass(frozen=True, kw_only=True)
class Recorded:
    id: UUID
    schedule_id: UUID
    method: Method
    transaction_reference: str
    amount: Money
    recorded_at: datetime


class Recording:
    """What was handed out at Stripe is ended first, and the row is only written as long as that is all there was."""

    def __init__(self, desk: Desk, clock: Clock, buyer: Buyer) -> None:
        self._desk = desk
        self._clock = clock
        self._buyer = buyer
        self._means = Means(desk.stripe, lambda: desk.uow(buyer))

    async def record(self, id: UUID, method: Method, reference: str, notes: str | None) -> Recorded:
        """The same reference for the same amount is the same payment. Raises Problem 404, 409, 502 and 503."""
        for _ in range(_ROUNDS):
            async with self._desk.uow(self._buyer) as uow:
                found = await repository.lock(uow.db, id)
                if found is None:
                    raise unknown_schedule()
                purchase, row = found
                if (known := await self._known(uow, row, method, reference)) is not None:
                    return known
                if row.status not in PAYABLE:
                    raise not_due(row.status)
                out = await self._handed_out(uow, row)
                if not out:
                    return await self._write(uow, purchase, row, method, reference, notes)
            try:
                with in_our_words():
                    ended = [await self._means.end(each) for each in out]
            except StripeRefuses:
                raise refused_by_stripe() from None
            if not all(ended):
                raise Problem(409, "already_paid", "This has been paid at Stripe meanwhile; its event is on its way.")
        raise Problem(409, "schedule_busy", "Others are changing this amount; try again.")

    async def _handed_out(self, uow: UnitOfWork, row: Row[Any]) -> list[Row[Any]]:
        """By what else the same money could be paid: its own intent or invoice, or one for more than this."""
        rows = await repository.of_purchase(uow.db, row.purchase_id)
        same = [each for each in rows if each.id == row.id or (each.kind == "remainder") != (row.kind == "remainder")]
        if any(each.status == "processing" for each in same):
            raise not_due("processing")
        return [each for each in same if each.status in PAYABLE and handed_out(each)]

    async def _known(self, uow: UnitOfWork, row: Row[Any], method: Method, reference: str) -> Recorded | None:
        known = await repository.manual_by_reference(uow.db, row.student_id, method, reference)
        if known is None:
            return None
        if known.schedule_id != row.id:
            detail = "This reference was recorded for another amount due; every payment has its own."
            raise Problem(409, "reference_already_recorded", detail, schedule_id=str(known.schedule_id))
        return _recorded(known)

    async def _write(
        self, uow: UnitOfWork, purchase: Row[Any], row: Row[Any], method: Method, reference: str, notes: str | None
    ) -> Recorded:
        manual = await repository.add_manual(
            uow.db,
            id=uuid4(),
            student_id=row.student_id,
            purchase_id=purchase.id,
            schedule_id=row.id,
            method=method,
            transaction_reference=reference,
            notes=notes,
            amount=row.amount,
            currency=row.currency,
            recorded_by=self._buyer.actor,
            created_at=uow.now,
            updated_at=uow.now,
        )
        if manual is None:  # taken for another purchase of the student's at the same moment
            raise Problem(409, "reference_already_recorded", "This reference was recorded for another amount due.")
        status = "waived" if method == "waiver" else "paid"
        values = {
            "status": status,
            "paid_at": await self._clock.now_in(uow.db),
            "next_attempt_at": None,
            "failure_code": None,
        }
        await repository.write(uow.db, row.id, at=uow.now, **values)
        for each in await repository.of_purchase(uow.db, purchase.id):
            if each.kind == "remainder" and each.id != row.id and each.status in PAYABLE and purchase.how != "page":
                await transitions.close(uow, purchase, each, because="covered")
        # a waiver settles, and no money comes
        money = Money(amount=0 if method == "waiver" else row.amount, currency=row.currency)
        wish = purchases.wish_of(purchase)
        installment = repository.reference(row)
        await insert_payment(
            uow.db,
            purchase.id,
            wish,
            refs=[str(manual.id)],
            manual_id=str(manual.id),
            amount=money,
            installment=installment,
            at=uow.now,
        )
        event = PaymentSucceeded(
            **transitions.about(purchase),
            refs=PaymentRefs(manual=str(manual.id), installment=installment),
            contact=await repository.contact_of(uow.db, row.student_id),
            amount=money,
            method=method,
        )
        await uow.publish(event, id=f"{manual.id}/{event.type}", subject=str(purchase.id))
        return _recorded(manual)


def _recorded(row: Row[Any]) -> Recorded:
    return Recorded(
        id=row.id,
        schedule_id=row.schedule_id,
        method=row.method,
        transaction_reference=row.transaction_reference,
        amount=Money(amount=row.amount, currency=row.currency),
        recorded_at=row.created_at,
    )
