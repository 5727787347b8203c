"""Paying by one payment intent, which the front end confirms with Stripe's own elements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from checkout.payments.repository import insert_payment
from checkout.purchases import payment_methods, repository
from checkout.purchases.context import Buyer, Desk, in_our_words, not_payable, refusal, refused_by_stripe
from checkout.purchases.customers import Customers
from checkout.purchases.domain import Purchase, State, Wish
from checkout.purchases.jobs import INTENT_OPEN_FOR, want_intent_expiry
from checkout.purchases.stripe_metadata import metadata
from checkout.stripe_client import Intent, StripeRefuses
from contracts.money import Money
from contracts.payments import PaymentRefs, PaymentSucceeded
from kit.db.unit_of_work import UnitOfWork

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class OpenIntent:
    """`client_secret` None: nothing is due, and nothing has to be confirmed."""

    purchase_id: UUID
    payment_id: UUID
    intent_id: str | None
    client_secret: str | None
    amount: Money


class Intents:
    """The way `intent`."""

    def __init__(self, desk: Desk, customers: Customers) -> None:
        self._desk = desk
        self._stripe = desk.stripe
        self._customers = customers

    async def params(self, purchase_id: UUID, wish: Wish, buyer: Buyer) -> dict[str, Any]:
        if not wish.amount.amount:
            return {}
        methods = payment_methods.allowed(amount=wish.amount, payer=wish.payer, payment_type="full")
        if not methods:
            raise not_payable()
        params: dict[str, Any] = {
            "amount": wish.amount.amount,
            "currency": wish.amount.currency,
            "allowed_payment_method_types": methods,
            "description": wish.program.title,
            "metadata": metadata(purchase_id, wish),
        }
        if customer_id := await self._customers.of(buyer, wish):
            params["customer"] = customer_id
        return params

    async def begun(self, uow: UnitOfWork, purchase_id: UUID, wish: Wish, buyer: Buyer) -> None:
        await want_intent_expiry(uow, purchase_id)

    async def ask(self, purchase_id: UUID, wish: Wish, buyer: Buyer) -> OpenIntent | None:
        async with self._desk.uow(buyer) as uow:
            params = await repository.params_of(uow.db, purchase_id)
        if not params:
            return await self._for_nothing(purchase_id, wish, buyer)
        try:
            with in_our_words():
                intent = await self._stripe.create_intent(params, key=f"{purchase_id}/intent")
        except StripeRefuses as refused:
            await self._desk.close(purchase_id, State.FAILED, buyer)
            if await self._customers.forgotten(wish.student_id, refused, buyer):
                return None
            raise refused_by_stripe() from None
        async with self._desk.uow(buyer) as uow:
            state = await repository.write_intent(
                uow.db, purchase_id, intent_id=intent.id, client_secret=intent.client_secret, at=uow.now
            )
            if state in (State.EXPIRED, State.FAILED):
                return None
            payment_id = await insert_payment(
                uow.db, purchase_id, wish, refs=[intent.id], intent_id=intent.id, at=uow.now
            )
            await self._desk.say_created(uow, purchase_id, wish, expires_at=uow.now + INTENT_OPEN_FOR)
        if state is not State.AWAITING_PAYMENT:  # the webhook was faster than the answer
            raise refusal("payment_in_progress")
        log.info("intent open", purchase=str(purchase_id), payer=wish.payer)
        return _open(purchase_id, payment_id, intent, wish)

    async def again(self, purchase: Purchase, buyer: Buyer) -> OpenIntent | None:
        if purchase.intent_id is None:
            return await self.ask(purchase.id, purchase.wish, buyer)
        try:
            with in_our_words():
                intent = await self._stripe.intent(purchase.intent_id)
        except StripeRefuses as refused:
            await self._forget(purchase, refused, buyer)
            return None
        if intent.status in ("processing", "succeeded", "requires_capture"):
            raise refusal("payment_in_progress")
        if intent.status == "canceled":
            await self._desk.close(purchase.id, State.EXPIRED, buyer)
            return None
        async with self._desk.uow(buyer) as uow:
            payment_id = await insert_payment(
                uow.db, purchase.id, purchase.wish, refs=[intent.id], intent_id=intent.id, at=uow.now
            )
        return _open(purchase.id, payment_id, intent, purchase.wish)

    async def close(self, purchase: Purchase, buyer: Buyer) -> None:
        if not purchase.wish.amount.amount:
            await self._close_for_nothing(purchase.id, buyer)
            return
        async with self._desk.uow(buyer) as uow:
            params = await repository.params_of(uow.db, purchase.id)
        try:
            with in_our_words():
                intent_id = purchase.intent_id
                if intent_id is None:
                    intent_id = (await self._stripe.create_intent(params, key=f"{purchase.id}/intent")).id
                intent = await self._stripe.cancel_intent(intent_id, key=f"{purchase.id}/cancel")
            if intent.status != "canceled":
                raise refusal("payment_in_progress")
        except StripeRefuses as refused:
            await self._forget(purchase, refused, buyer)
        else:
            await self._desk.close(purchase.id, State.EXPIRED, buyer)

    async def _close_for_nothing(self, purchase_id: UUID, buyer: Buyer) -> None:
        """Once its success is said, the enrollment is on its way, though nobody may have heard of it yet."""
        async with self._desk.uow(buyer) as uow:
            row = await repository.lock_purchase(uow.db, purchase_id)
            if row is not None and row.state != State.CREATED:
                raise refusal("payment_in_progress")
            await repository.close_purchase(uow.db, purchase_id, state=State.EXPIRED, at=uow.now)

    async def _for_nothing(self, purchase_id: UUID, wish: Wish, buyer: Buyer) -> OpenIntent | None:
        """A discount of everything: there is nothing to pay, and the enrollment opens by our own word."""
        manual = str(purchase_id)
        async with self._desk.uow(buyer) as uow:
            if await repository.write_awaiting(uow.db, purchase_id, at=uow.now) in (State.EXPIRED, State.FAILED):
                return None
            payment_id = await insert_payment(uow.db, purchase_id, wish, refs=[manual], manual_id=manual, at=uow.now)
            await self._desk.say_created(uow, purchase_id, wish)
            event = PaymentSucceeded(
                refs=PaymentRefs(manual=manual),
                purchase_id=purchase_id,
                student_id=wish.student_id,
                program=wish.program,
                payer=wish.payer,
                funding_source=wish.funding_source,
                contact=buyer.contact,
                amount=wish.amount,
                price=wish.amount,
                method="promotion",
            )
            await uow.publish(event, id=f"{manual}/{event.type}", subject=str(purchase_id))
        return OpenIntent(
            purchase_id=purchase_id, payment_id=payment_id, intent_id=None, client_secret=None, amount=wish.amount
        )

    async def _forget(self, purchase: Purchase, refused: StripeRefuses, buyer: Buyer) -> None:
        """An intent that Stripe does not have (another account, a test mode that was wiped) cannot be paid."""
        if purchase.intent_id is not None and refused.code != "resource_missing":
            raise refused_by_stripe() from None
        await self._desk.close(purchase.id, State.EXPIRED, buyer)


def _open(purchase_id: UUID, payment_id: UUID, intent: Intent, wish: Wish) -> OpenIntent:
    return OpenIntent(
        purchase_id=purchase_id,
        payment_id=payment_id,
        intent_id=intent.id,
        client_secret=intent.client_secret,
        amount=wish.amount,
    )
