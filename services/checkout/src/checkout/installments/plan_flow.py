"""The payment flow `installments`: an enrollment with a payment plan that checkout collects itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog

from checkout.installments import repository
from checkout.installments.clock import Clock
from checkout.installments.domain import FULL, Installment, plan_installments
from checkout.installments.jobs import expire_unpaid
from checkout.installments.payment_requests import NotDue, PaymentRequests, intent_params
from checkout.installments.sponsor_invoices import SponsorInvoices
from checkout.problems import PAYMENT_IN_PROGRESS
from checkout.purchases import repository as purchases
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
from checkout.stripe_client import StripeRejected
from contracts.money import Money
from kit.db.unit_of_work import UnitOfWork

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class OpenEnrollment:
    """`client_secret` None: the payment is recorded by hand, or the sponsor is invoiced."""

    purchase_id: UUID
    client_secret: str | None
    due_now: Money | None


class PlanFlow:
    def __init__(self, context: CheckoutContext, customers: Customers, clock: Clock) -> None:
        self._context = context
        self._customers = customers
        self._clock = clock
        self._sponsors = SponsorInvoices(context, clock)

    async def params(self, purchase_id: UUID, request: PurchaseRequest, buyer: Buyer) -> dict[str, Any]:
        """The body of the first intent, to check that it can be paid. The intent is created from the installment."""
        if request.payer == "sponsor":
            return await self._sponsors.params(request, buyer)
        if not self._paid_by_intent(request):
            return {}
        if self._context.settings.stripe_tax:
            raise tax_needs_page()
        (first, *_) = plan_installments(request.plan or FULL, request.amount, await self._clock.now())
        customer_id = await self._customers.customer_for(buyer, request)
        reference = f"{repository.installment_id(purchase_id, first.position)}:1"
        params = intent_params(purchase_id, request, reference, first.amount, customer_id)
        if not params["allowed_payment_method_types"]:
            raise not_payable()
        return params

    async def on_created(self, uow: UnitOfWork, purchase_id: UUID, request: PurchaseRequest, buyer: Buyer) -> None:
        if request.payer == "sponsor":
            await self._sponsors.on_created(uow, purchase_id, request)
            return
        now = await self._clock.now_in(uow.db)
        open_for = timedelta(days=self._context.settings.enrollment_open_days)
        await purchases.prepare_enrollment(
            uow.db, purchase_id, request, checkout_url=self._context.pay_link(purchase_id), expires_at=now + open_for
        )
        await repository.add_plan(
            uow.db,
            purchase_id,
            request.student_id,
            plan_installments(request.plan or FULL, request.amount, now),
            pay_url=self._context.pay_link,
        )

    async def start(self, purchase_id: UUID, request: PurchaseRequest, buyer: Buyer) -> OpenEnrollment | None:
        secret = await self._client_secret(purchase_id, request, buyer)
        async with self._context.unit_of_work(buyer) as uow:
            state = await purchases.change_state(uow.db, purchase_id, Change.PAYMENT_REQUESTED, at=uow.now)
            if state in (State.EXPIRED, State.FAILED, State.CANCELED):
                return None
            purchase = await purchases.read_row(uow.db, purchase_id)
            (first, *_) = await repository.of_purchase(uow.db, purchase_id)
            await self._context.publish_created(
                uow,
                purchase_id,
                request,
                expires_at=purchase.expires_at if purchase is not None else None,
                payer_contact=buyer.payer_contact,
                due_at=first.due_at if request.payer == "sponsor" else None,
            )
        if state is not State.AWAITING_PAYMENT:  # an event arrived before Stripe's response
            raise PAYMENT_IN_PROGRESS()
        log.info("enrollment open", purchase=str(purchase_id), payer=request.payer, payment_type=request.payment_type)
        return await self._opened(purchase_id, secret, buyer)

    async def resume(self, purchase: Purchase, buyer: Buyer) -> OpenEnrollment | None:
        secret = await self._client_secret(purchase.id, purchase.request, buyer)
        return await self._opened(purchase.id, secret, buyer)

    async def close(self, purchase: Purchase, buyer: Buyer) -> None:
        installments = await self._installments(purchase.id, buyer)
        requests = self._requests(buyer)
        try:
            with stripe_errors_as_problems():
                ended = [await requests.end(each) for each in installments]
        except StripeRejected:
            raise rejected_by_stripe() from None
        paid = [each for each, is_over in zip(installments, ended, strict=True) if not is_over]
        for object_id in (each.stripe_invoice_id or each.stripe_payment_intent_id for each in paid):
            if object_id is not None:
                raise await self._context.already_paid(object_id, buyer)
        async with self._context.unit_of_work(buyer) as uow:
            if not all(ended) or not await expire_unpaid(uow, purchase.id):
                raise PAYMENT_IN_PROGRESS()

    def _paid_by_intent(self, request: PurchaseRequest) -> bool:
        return self._context.stripe.configured and request.payer == "student"

    def _requests(self, buyer: Buyer) -> PaymentRequests:
        return PaymentRequests(self._context.stripe, lambda: self._context.unit_of_work(buyer))

    async def _client_secret(self, purchase_id: UUID, request: PurchaseRequest, buyer: Buyer) -> str | None:
        if request.payer == "sponsor":
            await self._sponsors.send(purchase_id, buyer)
        if not self._paid_by_intent(request):
            return None
        (first, *_) = await self._installments(purchase_id, buyer)
        customer_id = await self._customers.customer_for(buyer, request)
        try:
            with stripe_errors_as_problems():
                intent = await self._requests(buyer).intent(first.id, customer_id)
        except NotDue:
            raise PAYMENT_IN_PROGRESS() from None
        except StripeRejected:
            raise rejected_by_stripe() from None
        if intent.status in ("processing", "succeeded"):
            raise await self._context.already_paid(intent.id, buyer)
        return intent.client_secret

    async def _opened(self, purchase_id: UUID, secret: str | None, buyer: Buyer) -> OpenEnrollment:
        installments = await self._installments(purchase_id, buyer)
        now = await self._clock.now()
        due = next((each for each in installments if each.status == "open" and each.due_at <= now), None)
        return OpenEnrollment(purchase_id=purchase_id, client_secret=secret, due_now=due.money if due else None)

    async def _installments(self, purchase_id: UUID, buyer: Buyer) -> list[Installment]:
        async with self._context.unit_of_work(buyer) as uow:
            return await repository.of_purchase(uow.db, purchase_id)
