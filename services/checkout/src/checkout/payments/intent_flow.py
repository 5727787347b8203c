"""The payment flow `intent`: one payment intent, which the front end confirms with Stripe Elements."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import structlog

from checkout.payments.free_payments import enqueue_free_payment
from checkout.payments.repository import insert_payment
from checkout.problems import PAYMENT_IN_PROGRESS
from checkout.purchases import payment_methods, repository
from checkout.purchases.context import (
    Buyer,
    CheckoutContext,
    not_payable,
    rejected_by_stripe,
    stripe_errors_as_problems,
    tax_needs_page,
)
from checkout.purchases.customers import Customers
from checkout.purchases.domain import Change, Purchase, PurchaseRequest, State
from checkout.purchases.jobs import INTENT_OPEN_FOR, enqueue_intent_expiry
from checkout.purchases.stripe_metadata import metadata
from checkout.stripe_client import Intent, StripeRejected
from contracts.money import Money
from kit.db.unit_of_work import UnitOfWork

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class OpenIntent:
    """`client_secret` None: nothing is due, so nothing has to be confirmed."""

    purchase_id: UUID
    payment_id: UUID
    intent_id: str | None
    client_secret: str | None
    amount: Money


class IntentFlow:
    def __init__(self, context: CheckoutContext, customers: Customers) -> None:
        self._context = context
        self._stripe = context.stripe
        self._customers = customers

    async def params(self, purchase_id: UUID, request: PurchaseRequest, buyer: Buyer) -> dict[str, object]:
        if not request.amount.amount:
            return {}
        if self._context.settings.stripe_tax:
            raise tax_needs_page()
        methods = payment_methods.allowed(amount=request.amount, payer=request.payer, payment_type="full")
        if not methods:
            raise not_payable()
        params: dict[str, object] = {
            "amount": request.amount.amount,
            "currency": request.amount.currency,
            "allowed_payment_method_types": methods,
            "description": request.program.title,
            "metadata": metadata(purchase_id, request),
        }
        if customer_id := await self._customers.customer_for(buyer, request):
            params["customer"] = customer_id
        return params

    async def on_created(self, uow: UnitOfWork, purchase_id: UUID, request: PurchaseRequest, buyer: Buyer) -> None:
        await enqueue_intent_expiry(uow, purchase_id)

    async def start(self, purchase_id: UUID, request: PurchaseRequest, buyer: Buyer) -> OpenIntent | None:
        async with self._context.unit_of_work(buyer) as uow:
            params = await repository.params_of(uow.db, purchase_id)
        if not params:
            return await self._start_free(purchase_id, request, buyer)
        try:
            with stripe_errors_as_problems():
                intent = await self._stripe.create_intent(params, key=f"{purchase_id}/intent")
        except StripeRejected as rejected:
            await self._context.close(purchase_id, Change.REJECTED, buyer)
            if await self._customers.replace_missing(request.student_id, rejected, buyer):
                return None
            raise rejected_by_stripe() from None
        async with self._context.unit_of_work(buyer) as uow:
            state = await repository.write_intent(
                uow.db, purchase_id, intent_id=intent.id, client_secret=intent.client_secret, at=uow.now
            )
            if state in (State.EXPIRED, State.FAILED):
                return None
            payment_id = await insert_payment(
                uow.db, purchase_id, request, refs=[intent.id], intent_id=intent.id, at=uow.now
            )
            await self._context.publish_created(uow, purchase_id, request, expires_at=uow.now + INTENT_OPEN_FOR)
        if state is not State.AWAITING_PAYMENT:  # the webhook was faster than the answer
            raise PAYMENT_IN_PROGRESS()
        log.info("intent open", purchase=str(purchase_id), payer=request.payer)
        return _open(purchase_id, payment_id, intent, request)

    async def resume(self, purchase: Purchase, buyer: Buyer) -> OpenIntent | None:
        if purchase.intent_id is None:
            return await self.start(purchase.id, purchase.request, buyer)
        try:
            with stripe_errors_as_problems():
                intent = await self._stripe.intent(purchase.intent_id)
        except StripeRejected as rejected:
            await self._close_missing(purchase, rejected, buyer)
            return None
        if intent.status in ("processing", "succeeded", "requires_capture"):
            raise await self._context.already_paid(intent.id, buyer)
        if intent.status == "canceled":
            await self._context.close(purchase.id, Change.EXPIRED, buyer)
            return None
        async with self._context.unit_of_work(buyer) as uow:
            payment_id = await insert_payment(
                uow.db, purchase.id, purchase.request, refs=[intent.id], intent_id=intent.id, at=uow.now
            )
        return _open(purchase.id, payment_id, intent, purchase.request)

    async def close(self, purchase: Purchase, buyer: Buyer) -> None:
        if not purchase.request.amount.amount:
            await self._close_free(purchase.id, buyer)
            return
        async with self._context.unit_of_work(buyer) as uow:
            params = await repository.params_of(uow.db, purchase.id)
        try:
            with stripe_errors_as_problems():
                intent_id = purchase.intent_id
                if intent_id is None:
                    intent_id = (await self._stripe.create_intent(params, key=f"{purchase.id}/intent")).id
                intent = await self._stripe.cancel_intent(intent_id, key=f"{purchase.id}/cancel")
            if intent.status != "canceled":
                raise await self._context.already_paid(intent.id, buyer)
        except StripeRejected as rejected:
            await self._close_missing(purchase, rejected, buyer)
        else:
            await self._context.close(purchase.id, Change.EXPIRED, buyer)

    async def _close_free(self, purchase_id: UUID, buyer: Buyer) -> None:
        """Once it is asked for, its success will be published and the enrollment follows."""
        async with self._context.unit_of_work(buyer) as uow:
            row = await repository.lock_purchase(uow.db, purchase_id)
            if row is not None and row.state is not State.CREATED:
                raise PAYMENT_IN_PROGRESS()
            await repository.change_state(uow.db, purchase_id, Change.EXPIRED, at=uow.now)

    async def _start_free(self, purchase_id: UUID, request: PurchaseRequest, buyer: Buyer) -> OpenIntent | None:
        """The discount covers everything: a job of checkout's publishes the payment's success."""
        manual = str(purchase_id)
        async with self._context.unit_of_work(buyer) as uow:
            state = await repository.change_state(uow.db, purchase_id, Change.PAYMENT_REQUESTED, at=uow.now)
            if state in (State.EXPIRED, State.FAILED):
                return None
            payment_id = await insert_payment(uow.db, purchase_id, request, refs=[manual], manual_id=manual, at=uow.now)
            await self._context.publish_created(uow, purchase_id, request)
            await enqueue_free_payment(uow, purchase_id)
        return OpenIntent(
            purchase_id=purchase_id,
            payment_id=payment_id,
            intent_id=None,
            client_secret=None,
            amount=request.amount,
        )

    async def _close_missing(self, purchase: Purchase, rejected: StripeRejected, buyer: Buyer) -> None:
        """An intent that Stripe does not have (another account, deleted test data) cannot be paid."""
        if purchase.intent_id is not None and rejected.code != "resource_missing":
            raise rejected_by_stripe() from None
        await self._context.close(purchase.id, Change.EXPIRED, buyer)


def _open(purchase_id: UUID, payment_id: UUID, intent: Intent, request: PurchaseRequest) -> OpenIntent:
    return OpenIntent(
        purchase_id=purchase_id,
        payment_id=payment_id,
        intent_id=intent.id,
        client_secret=intent.client_secret,
        amount=request.amount,
    )
