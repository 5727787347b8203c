"""Enrolls a student: finds the item, the plan that applies, and who pays."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.catalog.promotion_repository import Quote
from checkout.catalog.repository import Item, Sponsor, find_any_item, find_sponsor
from checkout.installments import repository, rules
from checkout.installments.clock import Clock
from checkout.installments.domain import applicable_plan, detect_plan, plan_installments
from checkout.installments.plan_flow import OpenEnrollment, PlanFlow
from checkout.payments.intent_flow import IntentFlow
from checkout.purchases.context import Buyer, CheckoutContext, rejected_by_stripe, stripe_errors_as_problems
from checkout.purchases.domain import PurchaseRequest
from checkout.purchases.request_builder import build_request
from checkout.purchases.service import PurchaseService
from checkout.stripe_client import StripeRejected
from contracts.people import Contact
from kit.db.unit_of_work import utc_now
from kit.http.auth import Caller
from kit.http.errors import Problem

MemberTier = Callable[[AsyncConnection, UUID], Awaitable[str | None]]
"""Returns the tier of a student's active membership; payment plans may depend on it."""

STAFF = ("admin", "case_manager")


@dataclass(frozen=True, kw_only=True)
class EnrollmentRequest:
    product: str
    student_id: UUID
    promotion_code: str | None = None
    funding_source: str | None = None


class EnrollmentService:
    def __init__(
        self,
        context: CheckoutContext,
        purchases: PurchaseService,
        plan_flow: PlanFlow,
        intent_flow: IntentFlow,
        clock: Clock,
        member_tier: MemberTier,
    ) -> None:
        self._context = context
        self._purchases = purchases
        self._plan_flow = plan_flow
        self._intent_flow = intent_flow
        self._clock = clock
        self._member_tier = member_tier

    async def enroll(self, caller: Caller, buyer: Buyer, enrollment: EnrollmentRequest) -> OpenEnrollment:
        """Raises Problem: 403 for another student, 404 and 409 for the product, and as `PurchaseService.open`."""
        if enrollment.student_id != caller.id and caller.role not in STAFF:
            raise Problem(403, "forbidden", "Students can enroll only themselves: user_id must be your own id.")
        if enrollment.funding_source is not None and caller.role not in STAFF:
            raise Problem(403, "forbidden", "Only staff can name a funding source.")
        sponsor, request, quote = await self._request(buyer, enrollment)
        payer = buyer
        if sponsor is not None:
            payer = self._billed_to(sponsor, buyer)
            await self._update_sponsor_customer(sponsor, str(payer.bill_to), buyer)
        if request.payment_flow == "intent":
            free = await self._purchases.open(self._intent_flow, request, payer, quote=quote)
            return OpenEnrollment(purchase_id=free.purchase_id, client_secret=None, due_now=None)
        return await self._purchases.open(self._plan_flow, request, payer, quote=quote)

    async def _request(
        self, buyer: Buyer, enrollment: EnrollmentRequest
    ) -> tuple[Sponsor | None, PurchaseRequest, Quote]:
        async with self._context.unit_of_work(buyer) as uow:
            item = await _item(uow.db, enrollment.product)
            sponsor = await self._sponsor(uow.db, enrollment.funding_source)
            tier = await self._member_tier(uow.db, enrollment.student_id)
        async with self._context.unit_of_work(buyer) as uow:
            request, quote = await build_request(
                uow.db,
                item,
                enrollment.student_id,
                at=utc_now(),
                promotion_code=enrollment.promotion_code,
                price=(item.cost or item.money) if sponsor is not None else None,
                payment_flow="installments",
            )
        plan = applicable_plan(detect_plan(item, tier, rules.checked_in()), request.amount)
        count = len(plan_installments(plan, request.amount, await self._clock.now()))
        if sponsor is not None:
            request = replace(request, payer="sponsor", funding_source=sponsor.code)
        if not count:  # the discount covers everything: there is nothing to collect
            return sponsor, replace(request, payment_flow="intent"), quote
        if count > 1:
            request = replace(request, payment_type="plan", installments=count)
        return sponsor, replace(request, plan=plan), quote

    def _billed_to(self, sponsor: Sponsor, buyer: Buyer) -> Buyer:
        bill_to = sponsor.finance_email or self._context.settings.sponsor_finance_email
        if bill_to is None:
            detail = "Give the sponsor a finance_email, or set SPONSOR_FINANCE_EMAIL."
            raise Problem(409, "no_finance_email", detail)
        return replace(buyer, bill_to=bill_to, payer_contact=Contact(email=bill_to, name=sponsor.name), contact=None)

    async def _sponsor(self, db: AsyncConnection, code: str | None) -> Sponsor | None:
        if code is None:
            return None
        if (sponsor := await find_sponsor(db, code)) is None:
            detail = "Unknown funding source; GET /api/admin/sponsors lists those that an admin has set up."
            raise Problem(422, "unknown_funding_source", detail)
        return sponsor

    async def _update_sponsor_customer(self, sponsor: Sponsor, email: str, buyer: Buyer) -> None:
        """Creates the sponsor's customer at Stripe once, and updates its billing email every time."""
        if not self._context.stripe.configured:
            return
        async with self._context.unit_of_work(buyer) as uow:
            existing = await repository.sponsor_customer(uow.db, sponsor.code)
        try:
            with stripe_errors_as_problems():
                customer_id = existing or await self._context.stripe.create_customer(
                    metadata={"sponsor": sponsor.code}, key=f"sponsor/{sponsor.code}"
                )
                await self._context.stripe.update_customer(customer_id, email=email, name=sponsor.name)
        except StripeRejected:
            raise rejected_by_stripe() from None
        if existing is None:
            async with self._context.unit_of_work(buyer) as uow:
                await repository.keep_sponsor_customer(uow.db, sponsor.code, customer_id)


async def _item(db: AsyncConnection, reference: str) -> Item:
    item = await find_any_item(db, reference)
    if item is None:
        raise Problem(404, "unknown_product", "Product not found; GET /api/catalog lists the products on sale.")
    if not item.active:
        detail = "This product is no longer sold; GET /api/catalog lists the products on sale."
        raise Problem(409, "product_inactive", detail)
    if item.kind == "membership":
        raise Problem(409, "use_memberships", "A membership is a subscription: POST /api/memberships.")
    return item
