"""Enrolling with a plan that the school collects itself: the way `schedule`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Row

from checkout.catalog.item import PaymentPlan
from checkout.installments import repository
from checkout.installments.clock import Clock
from checkout.installments.domain import FULL, schedule
from checkout.installments.jobs import end_unpaid
from checkout.installments.payment_requests import Means, NotDue, params_for
from checkout.purchases import repository as purchases
from checkout.purchases.context import Buyer, Desk, in_our_words, refusal, refused_by_stripe
from checkout.purchases.customers import Customers
from checkout.purchases.domain import Purchase, State, Wish
from checkout.stripe_client import StripeRefuses
from contracts.money import Money
from kit.db.unit_of_work import UnitOfWork
from kit.http.errors import Problem

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Enroller(Buyer):
    """Who enrolls, and by which plan that is to be paid."""

    plan: PaymentPlan = FULL


@dataclass(frozen=True, kw_only=True)
class OpenEnrollment:
    """`client_secret` None: what is due is paid by hand, or by the invoice that a sponsor gets."""

    purchase_id: UUID
    client_secret: str | None
    due_now: Money | None


class ScheduleWay:
    def __init__(self, desk: Desk, customers: Customers, clock: Clock) -> None:
        self._desk = desk
        self._customers = customers
        self._clock = clock

    async def params(self, purchase_id: UUID, wish: Wish, buyer: Buyer) -> dict[str, Any]:
        """What the first intent will be asked for, as a proof that it can be; it is asked for from the row."""
        if not self._by_intent(wish):
            return {}
        (first, *_) = schedule(_plan(buyer), wish.amount, await self._clock.now())
        customer_id = await self._customers.of(buyer, wish)
        installment = f"{repository.schedule_id(purchase_id, first.position)}:1"
        params = params_for(purchase_id, wish, installment, first.amount, customer_id)
        if not params["allowed_payment_method_types"]:
            raise Problem(422, "amount_not_payable", "No payment method takes this price in this way.")
        return params

    async def begun(self, uow: UnitOfWork, purchase_id: UUID, wish: Wish, buyer: Buyer) -> None:
        now = await self._clock.now_in(uow.db)
        plan = _plan(buyer)
        page = self._desk.pay_page(purchase_id)
        sponsored = wish.payer == "sponsor"
        open_for = timedelta(days=self._desk.settings.enrollment_open_days)
        await repository.write_plan(
            uow.db,
            purchase_id,
            wish.student_id,
            wish.covers[0],
            plan=plan.model_dump(mode="json", exclude_none=True),
            page=page,
            expires_at=None if sponsored else now + open_for,
        )
        await repository.insert_dues(
            uow.db,
            purchase_id,
            wish.student_id,
            schedule(plan, wish.amount, now),
            first_timer=sponsored,
            page=page,
        )
        if sponsored and wish.payment_type == "full":  # what is paid in parts would be noted as paid with the first
            await purchases.insert_funding(uow.db, purchase_id, wish, at=uow.now)

    async def ask(self, purchase_id: UUID, wish: Wish, buyer: Buyer) -> OpenEnrollment | None:
        secret = await self._secret(purchase_id, wish, buyer)
        async with self._desk.uow(buyer) as uow:
            state = await purchases.write_awaiting(uow.db, purchase_id, at=uow.now)
            if state in (State.EXPIRED, State.FAILED, State.CANCELED):
                return None
            row = await purchases.read_row(uow.db, purchase_id)
            await self._desk.say_created(
                uow,
                purchase_id,
                wish,
                expires_at=row.expires_at if row is not None else None,
                payer_contact=buyer.payer_contact,
            )
        if state is not State.AWAITING_PAYMENT:  # an event was faster than the answer
            raise refusal("payment_in_progress")
        log.info("enrollment open", purchase=str(purchase_id), payer=wish.payer, payment_type=wish.payment_type)
        return await self._opened(purchase_id, secret, buyer)

    async def again(self, purchase: Purchase, buyer: Buyer) -> OpenEnrollment | None:
        secret = await self._secret(purchase.id, purchase.wish, buyer)
        return await self._opened(purchase.id, secret, buyer)

    async def close(self, purchase: Purchase, buyer: Buyer) -> None:
        rows = await self._rows(purchase.id, buyer)
        means = Means(self._desk.stripe, lambda: self._desk.uow(buyer))
        try:
            with in_our_words():
                ended = [await means.end(row) for row in rows]
        except StripeRefuses:
            raise refused_by_stripe() from None
        async with self._desk.uow(buyer) as uow:
            if not all(ended) or not await end_unpaid(uow, purchase.id, State.EXPIRED):
                raise refusal("payment_in_progress")

    def _by_intent(self, wish: Wish) -> bool:
        return self._desk.stripe.configured and wish.payer == "student"

    async def _secret(self, purchase_id: UUID, wish: Wish, buyer: Buyer) -> str | None:
        if not self._by_intent(wish):
            return None
        (first, *_) = await self._rows(purchase_id, buyer)
        means = Means(self._desk.stripe, lambda: self._desk.uow(buyer))
        customer_id = await self._customers.of(buyer, wish)
        try:
            with in_our_words():
                intent = await means.intent(first.id, customer_id)
        except NotDue:
            raise refusal("payment_in_progress") from None
        except StripeRefuses:
            raise refused_by_stripe() from None
        if intent.status in ("processing", "succeeded"):
            raise refusal("payment_in_progress")
        return intent.client_secret

    async def _opened(self, purchase_id: UUID, secret: str | None, buyer: Buyer) -> OpenEnrollment:
        rows = await self._rows(purchase_id, buyer)
        now = await self._clock.now()
        due = next((row for row in rows if row.status == "open" and row.due_at <= now), None)
        due_now = None if due is None else Money(amount=due.amount, currency=due.currency)
        return OpenEnrollment(purchase_id=purchase_id, client_secret=secret, due_now=due_now)

    async def _rows(self, purchase_id: UUID, buyer: Buyer) -> list[Row[Any]]:
        async with self._desk.uow(buyer) as uow:
            return await repository.of_purchase(uow.db, purchase_id)


def _plan(buyer: Buyer) -> PaymentPlan:
    return buyer.plan if isinstance(buyer, Enroller) else FULL
