"""Paying what is due by an intent that the payer confirms: one amount, or all that is left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from checkout.installments import repository, transitions
from checkout.installments.clock import Clock
from checkout.installments.domain import PAYABLE, Due
from checkout.installments.payment_requests import Means, NotDue, handed_out
from checkout.purchases import repository as purchases
from checkout.purchases.context import Buyer, Desk, in_our_words, refused_by_stripe
from checkout.purchases.customers import Customers
from checkout.purchases.domain import State
from checkout.stripe_client import Intent, StripeRefuses
from contracts.money import Money
from kit.http.errors import Problem

_ROUNDS = 5
_OVER = (State.WITHDRAWN, State.CANCELED, State.FAILED, State.EXPIRED)


@dataclass(frozen=True, kw_only=True)
class ToPay:
    schedule_id: UUID
    intent: Intent


class Paying:
    def __init__(self, desk: Desk, customers: Customers, clock: Clock, buyer: Buyer) -> None:
        self._desk = desk
        self._customers = customers
        self._clock = clock
        self._buyer = buyer

    async def now(self, id: UUID) -> ToPay:
        """Raises Problem 404, 409, 502 and 503."""
        async with self._desk.uow(self._buyer) as uow:
            found = await repository.lock(uow.db, id)
        if found is None:
            raise unknown_schedule()
        purchase, row = found
        if row.status not in PAYABLE:
            raise not_due(row.status)
        return await self._to_pay(purchase, row)

    async def rest(self, id: UUID) -> ToPay:
        """The same amount again is the same intent; another one replaces it."""
        async with self._desk.uow(self._buyer) as uow:
            found = await repository.find_purchase(uow.db, id)
        if found is None:
            raise unknown_enrollment()
        means = Means(self._desk.stripe, lambda: self._desk.uow(self._buyer))
        for _ in range(_ROUNDS):
            purchase, row, stale = await self._remainder(found.id)
            if stale is None:
                return await self._to_pay(purchase, row)
            try:
                with in_our_words():
                    ended = await means.end(stale)
            except StripeRefuses:
                raise refused_by_stripe() from None
            if not ended:
                raise not_due("processing")
        raise Problem(409, "schedule_busy", "Others are changing these amounts; try again.")

    async def _remainder(self, purchase_id: UUID) -> tuple[Row[Any], Row[Any], Row[Any] | None]:
        """The purchase, what is to be paid, and what has to be ended at Stripe before that."""
        now = await self._clock.now()
        async with self._desk.uow(self._buyer) as uow:
            purchase = await purchases.lock_purchase(uow.db, purchase_id)
            assert purchase is not None  # noqa: S101  found just now
            if purchase.state in _OVER or purchase.canceled_at is not None:
                raise Problem(409, "enrollment_over", "This enrollment has ended; nothing is owed for it.")
            rows = await repository.of_purchase(uow.db, purchase_id)
            remainder = next((row for row in rows if row.kind == "remainder" and row.status in PAYABLE), None)
            if purchase.how == "page":
                if remainder is None:
                    detail = "Nothing is left to be paid here; a plan on Stripe's page is collected by Stripe."
                    raise Problem(409, "nothing_due", detail)
                return purchase, remainder, None
            if any(row.status == "processing" for row in rows):
                raise not_due("processing")
            parts = [row for row in rows if row.kind != "remainder" and row.status in PAYABLE]
            if not parts:
                raise Problem(409, "nothing_due", "Nothing is left to be paid.")
            if len(parts) == 1:
                return purchase, parts[0], None
            rest = Money(amount=sum(row.amount for row in parts), currency=purchase.currency)
            if remainder is not None and remainder.amount == rest.amount:
                return purchase, remainder, None
            if remainder is not None and handed_out(remainder):
                return purchase, remainder, remainder
            if remainder is not None:
                await transitions.close(uow, purchase, remainder, because="covered")
            due = Due(position=rows[-1].position + 1, kind="remainder", amount=rest, due_at=now)
            page = self._desk.pay_page(purchase_id)
            await repository.insert_due(uow.db, purchase_id, purchase.student_id, due, next_attempt_at=None, page=page)
            made = await repository.read(uow.db, repository.schedule_id(purchase_id, due.position))
            assert made is not None  # noqa: S101
            return purchase, made, None

    async def _to_pay(self, purchase: Row[Any], row: Row[Any]) -> ToPay:
        means = Means(self._desk.stripe, lambda: self._desk.uow(self._buyer))
        wish = purchases.wish_of(purchase)
        if wish.payer == "sponsor":
            raise Problem(409, "sponsor_pays", "A sponsor pays this, by the invoice that it gets.")
        try:
            customer_id = await self._customers.of(self._buyer, wish)
            with in_our_words():
                intent = await means.intent(row.id, customer_id)
        except NotDue:
            raise not_due("processing") from None
        except StripeRefuses:
            raise refused_by_stripe() from None
        if intent.status in ("succeeded", "processing"):
            raise not_due("processing")
        return ToPay(schedule_id=row.id, intent=intent)


def not_due(status: str) -> Problem:
    if status == "processing":
        detail = "This has been paid, or the payment is on its way; wait until it has arrived."
        return Problem(409, "payment_in_progress", detail)
    if status in ("paid", "waived"):
        return Problem(409, "already_paid", "This amount is settled already; nothing was charged.")
    return Problem(
        409, "schedule_closed", "This amount is not owed any more; GET the enrollment's payment for what is."
    )


def unknown_schedule() -> Problem:
    return Problem(404, "unknown_schedule", "There is no such amount due of yours.")


def unknown_enrollment() -> Problem:
    return Problem(404, "unknown_enrollment", "There is no such enrollment of yours.")
