"""Paying on a page that Stripe hosts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from checkout.purchases import repository
from checkout.purchases.context import Buyer, Desk, in_our_words, not_payable, refusal, refused_by_stripe
from checkout.purchases.customers import Customers
from checkout.purchases.domain import Purchase, State, Wish
from checkout.purchases.jobs import want_page_expiry
from checkout.purchases.session_params import Discount, PlanPrice, plan_price, session_params
from checkout.stripe_client import Session, StripeRefuses
from kit.db.unit_of_work import UnitOfWork

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class OpenCheckout:
    purchase_id: UUID
    session_id: str
    url: str


class Pages:
    """The way `page`: in one sum, or in the monthly installments of a plan."""

    def __init__(self, desk: Desk, customers: Customers) -> None:
        self._desk = desk
        self._stripe = desk.stripe
        self._customers = customers

    async def params(self, purchase_id: UUID, wish: Wish, buyer: Buyer) -> dict[str, Any]:
        try:
            price = plan_price(wish) if wish.payment_type == "plan" else None
            price_id = await self._price_id(price) if price else None
            return session_params(
                purchase_id=purchase_id,
                wish=wish,
                frontend_url=self._desk.settings.frontend_url,
                email=buyer.bill_to,
                customer_id=await self._customers.of(buyer, wish),
                discount=await self._discount(purchase_id, wish),
                recurring_price_id=price_id,
                automatic_tax=self._desk.settings.stripe_tax,
                returns=buyer.returns,
            )
        except ValueError:
            raise not_payable() from None

    async def begun(self, uow: UnitOfWork, purchase_id: UUID, wish: Wish, buyer: Buyer) -> None:
        await want_page_expiry(uow, purchase_id)
        if wish.payer == "sponsor":
            await repository.insert_funding(uow.db, purchase_id, wish, at=uow.now)

    async def ask(self, purchase_id: UUID, wish: Wish, buyer: Buyer) -> OpenCheckout | None:
        try:
            session = await self._session_of(purchase_id, buyer)
        except StripeRefuses as refused:
            await self._desk.close(purchase_id, State.FAILED, buyer)
            if await self._customers.forgotten(wish.student_id, refused, buyer):
                return None
            raise refused_by_stripe() from None
        if session.url is None:  # never so for a hosted page that was just made, or that Stripe's memory replays
            raise refused_by_stripe()
        async with self._desk.uow(buyer) as uow:
            state = await repository.write_session(
                uow.db,
                purchase_id,
                session_id=session.id,
                url=session.url,
                expires_at=session.expires_at,
                at=uow.now,
            )
            if wish.payer == "sponsor":
                await repository.write_funding_session(uow.db, purchase_id, session.id, at=uow.now)
            if state in (State.EXPIRED, State.FAILED):
                return None
            await self._desk.say_created(
                uow,
                purchase_id,
                wish,
                url=session.url,
                expires_at=session.expires_at,
                payer_contact=buyer.payer_contact,
            )
        if state is not State.SESSION_OPEN:  # the webhook was faster than the answer
            raise refusal("payment_in_progress")
        log.info("checkout open", purchase=str(purchase_id), payer=wish.payer, payment_type=wish.payment_type)
        return OpenCheckout(purchase_id=purchase_id, session_id=session.id, url=session.url)

    async def again(self, purchase: Purchase, buyer: Buyer) -> OpenCheckout | None:
        """The page that was opened before; None when it has closed meanwhile."""
        if purchase.session_id is None:
            return await self.ask(purchase.id, purchase.wish, buyer)
        try:
            with in_our_words():
                session = await self._stripe.session(purchase.session_id)
        except StripeRefuses as refused:
            await self._forget(purchase, refused, buyer)
            return None
        if session.status == "open" and session.url:
            return OpenCheckout(purchase_id=purchase.id, session_id=session.id, url=session.url)
        await self._closed(purchase, session, buyer)
        return None

    async def close(self, purchase: Purchase, buyer: Buyer) -> None:
        try:
            session_id = purchase.session_id or (await self._session_of(purchase.id, buyer)).id
            with in_our_words():
                session = await self._stripe.expire_session(session_id, key=f"{purchase.id}/expire")
        except StripeRefuses as refused:
            await self._forget(purchase, refused, buyer)
        else:
            await self._closed(purchase, session, buyer)

    async def _session_of(self, purchase_id: UUID, buyer: Buyer) -> Session:
        """The purchase's session: the same one however often it is asked for."""
        async with self._desk.uow(buyer) as uow:
            params = await repository.params_of(uow.db, purchase_id)
        with in_our_words():
            return await self._stripe.create_session(params, key=f"{purchase_id}/session")

    async def _closed(self, purchase: Purchase, session: Session, buyer: Buyer) -> None:
        """Complete, or open and not to be closed just now: either way somebody is paying."""
        if session.status != "expired":
            raise refusal("payment_in_progress")
        await self._desk.close(purchase.id, State.EXPIRED, buyer)

    async def _forget(self, purchase: Purchase, refused: StripeRefuses, buyer: Buyer) -> None:
        """A session that Stripe does not have (another account, a test mode that was wiped) cannot be paid."""
        if purchase.session_id is not None and refused.code != "resource_missing":
            raise refused_by_stripe() from None
        await self._desk.close(purchase.id, State.EXPIRED, buyer)

    async def _price_id(self, price: PlanPrice) -> str:
        try:
            with in_our_words():
                return await self._stripe.recurring_price(key=price.key, name=price.name, amount=price.amount)
        except StripeRefuses:
            raise refused_by_stripe() from None

    async def _discount(self, purchase_id: UUID, wish: Wish) -> Discount | None:
        """The discount as a coupon, so that Stripe's page shows it. (A plan's installments are of what is left.)"""
        if wish.discount is None or wish.payment_type == "plan":
            return None
        try:
            with in_our_words():
                coupon = await self._stripe.coupon(
                    id=f"purchase-{purchase_id}", name=wish.promotion_code or "Discount", amount=wish.discount
                )
        except StripeRefuses:
            raise refused_by_stripe() from None
        return Discount(coupon_id=coupon, amount=wish.discount)
