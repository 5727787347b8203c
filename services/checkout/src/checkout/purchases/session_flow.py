"""The payment flow `page`: a Checkout page that Stripe hosts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from checkout.problems import PAYMENT_IN_PROGRESS
from checkout.purchases import repository
from checkout.purchases.context import (
    Buyer,
    CheckoutContext,
    not_payable,
    rejected_by_stripe,
    stripe_errors_as_problems,
)
from checkout.purchases.customers import Customers
from checkout.purchases.domain import Change, Purchase, PurchaseRequest, State
from checkout.purchases.jobs import enqueue_page_expiry
from checkout.purchases.session_params import Discount, session_params
from checkout.stripe_client import Session, StripeRejected
from kit.db.unit_of_work import UnitOfWork, utc_now

log = structlog.get_logger(__name__)

_TIME_TO_CREATE = timedelta(minutes=2)
"""Stripe counts the shortest time from the creation of the session, which follows that of the purchase."""


@dataclass(frozen=True, kw_only=True)
class OpenCheckout:
    purchase_id: UUID
    session_id: str
    url: str


class SessionFlow:
    """Paying on a Checkout page: one payment, or the first installment of a plan."""

    def __init__(self, context: CheckoutContext, customers: Customers) -> None:
        self._context = context
        self._stripe = context.stripe
        self._customers = customers

    async def params(self, purchase_id: UUID, request: PurchaseRequest, buyer: Buyer) -> dict[str, object]:
        try:
            return session_params(
                purchase_id=purchase_id,
                request=request,
                frontend_url=self._context.settings.frontend_url,
                email=buyer.bill_to,
                customer_id=await self._customers.customer_for(buyer, request),
                discount=await self._discount(purchase_id, request),
                automatic_tax=self._context.settings.stripe_tax,
                returns=buyer.returns,
                expires_at=self._end_of_hold(request, buyer, utc_now()),
            )
        except ValueError:
            raise not_payable() from None

    async def on_created(self, uow: UnitOfWork, purchase_id: UUID, request: PurchaseRequest, buyer: Buyer) -> None:
        await enqueue_page_expiry(uow, purchase_id, at=self._end_of_hold(request, buyer, uow.now))

    async def start(self, purchase_id: UUID, request: PurchaseRequest, buyer: Buyer) -> OpenCheckout | None:
        try:
            session = await self._session_of(purchase_id, buyer)
        except StripeRejected as rejected:
            if rejected.param == "expires_at":  # the first answer was lost, and it is too late to ask for a page again
                await self._context.close(purchase_id, Change.EXPIRED, buyer)
                return None
            await self._context.close(purchase_id, Change.REJECTED, buyer)
            if await self._customers.replace_missing(request.student_id, rejected, buyer):
                return None
            raise rejected_by_stripe() from None
        if session.url is None:  # does not happen for a hosted page, new or replayed under its idempotency key
            raise rejected_by_stripe()
        async with self._context.unit_of_work(buyer) as uow:
            state = await repository.write_session(
                uow.db,
                purchase_id,
                session_id=session.id,
                url=session.url,
                expires_at=session.expires_at,
                at=uow.now,
            )
            if state in (State.EXPIRED, State.FAILED):
                return None
            await self._context.publish_created(uow, purchase_id, request, expires_at=session.expires_at)
        if state is not State.SESSION_OPEN:  # the webhook was faster than the answer
            raise PAYMENT_IN_PROGRESS()
        log.info("checkout open", purchase=str(purchase_id), payer=request.payer, payment_type=request.payment_type)
        return OpenCheckout(purchase_id=purchase_id, session_id=session.id, url=session.url)

    async def resume(self, purchase: Purchase, buyer: Buyer) -> OpenCheckout | None:
        """The page that is open already; None when it has expired or was completed."""
        if purchase.session_id is None:
            return await self.start(purchase.id, purchase.request, buyer)
        try:
            with stripe_errors_as_problems():
                session = await self._stripe.session(purchase.session_id)
        except StripeRejected as rejected:
            await self._close_missing(purchase, rejected, buyer)
            return None
        if session.status == "open" and session.url:
            return OpenCheckout(purchase_id=purchase.id, session_id=session.id, url=session.url)
        await self._close_expired(purchase, session, buyer)
        return None

    async def close(self, purchase: Purchase, buyer: Buyer) -> None:
        try:
            session_id = purchase.session_id or (await self._session_of(purchase.id, buyer)).id
            with stripe_errors_as_problems():
                session = await self._stripe.expire_session(session_id, key=f"{purchase.id}/expire")
        except StripeRejected as rejected:
            await self._close_missing(purchase, rejected, buyer)
        else:
            await self._close_expired(purchase, session, buyer)

    def _end_of_hold(self, request: PurchaseRequest, buyer: Buyer, now: datetime) -> datetime | None:
        """When the page of a guest expires who has reserved a use of a promotion code: nobody needs an account for it.
        None: after Stripe's 24 hours."""
        if not buyer.guest or request.promotion_code is None:
            return None
        return now + timedelta(minutes=self._context.settings.guest_hold_minutes) + _TIME_TO_CREATE

    async def _session_of(self, purchase_id: UUID, buyer: Buyer) -> Session:
        """The purchase's session: the same one for every call, by its idempotency key."""
        async with self._context.unit_of_work(buyer) as uow:
            params = await repository.params_of(uow.db, purchase_id)
        with stripe_errors_as_problems():
            return await self._stripe.create_session(params, key=f"{purchase_id}/session")

    async def _close_expired(self, purchase: Purchase, session: Session, buyer: Buyer) -> None:
        """A session that is not expired is complete, or cannot be expired right now: somebody is paying."""
        if session.status != "expired":
            raise await self._context.already_paid(session.id, buyer)
        await self._context.close(purchase.id, Change.EXPIRED, buyer)

    async def _close_missing(self, purchase: Purchase, rejected: StripeRejected, buyer: Buyer) -> None:
        """A session that Stripe does not have (another account, deleted test data) cannot be paid."""
        if purchase.session_id is not None and rejected.code != "resource_missing":
            raise rejected_by_stripe() from None
        await self._context.close(purchase.id, Change.EXPIRED, buyer)

    async def _discount(self, purchase_id: UUID, request: PurchaseRequest) -> Discount | None:
        """The discount as a coupon, so that Stripe's page displays it. (A plan's installments include it.)"""
        if request.discount is None or request.payment_type == "plan":
            return None
        try:
            with stripe_errors_as_problems():
                coupon = await self._stripe.coupon(
                    id=f"purchase-{purchase_id}", name=request.promotion_code or "Discount", amount=request.discount
                )
        except StripeRejected:
            raise rejected_by_stripe() from None
        return Discount(coupon_id=coupon, amount=request.discount)
