"""Enrolls a student: finds the item, the plan that applies, and who pays."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.catalog.promotion_repository import Quote
from checkout.catalog.repository import Item, Sponsor, find_any_item, find_sponsor
from checkout.installments import rules
from checkout.installments.clock import Clock
from checkout.installments.domain import FULL, MIN_AMOUNT, applicable_plan, detect_plan, plan_installments
from checkout.installments.plan_flow import OpenEnrollment, PlanFlow
from checkout.payments.intent_flow import IntentFlow
from checkout.problems import (
    CO_PAY_REFUSED,
    FUNDING_SOURCE_MISSING,
    NO_ENROLLMENT,
    NO_FINANCE_EMAIL,
    PRODUCT_INACTIVE,
    UNKNOWN_FUNDING_SOURCE,
    UNKNOWN_PRODUCT,
    USE_MEMBERSHIPS,
)
from checkout.purchases import caseload
from checkout.purchases.context import Buyer, CheckoutContext
from checkout.purchases.domain import Period, PurchaseRequest
from checkout.purchases.request_builder import build_request
from checkout.purchases.service import PurchaseService
from contracts.money import Money
from contracts.people import Contact
from kit.db.database import CASE_MANAGER
from kit.db.unit_of_work import utc_now
from kit.http.auth import Caller
from kit.http.problems import FORBIDDEN

MemberTier = Callable[[AsyncConnection, UUID], Awaitable[str | None]]
"""Returns the tier of a student's active membership; payment plans may depend on it."""

STAFF = ("admin", "case_manager")


@dataclass(frozen=True, kw_only=True)
class EnrollmentRequest:
    """`program_id`: the caller's own id of it, for a sponsor's records; None: the catalog's. `contact`: the student's,
    if staff state it."""

    product: str
    student_id: UUID
    promotion_code: str | None = None
    funding_source: str | None = None
    program_id: str | None = None
    authorization_number: str | None = None
    period: Period | None = None
    cap: Money | None = None
    co_pay: Money | None = None
    contact: Contact | None = None


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
            raise FORBIDDEN("Students can enroll only themselves: user_id must be your own id.")
        if enrollment.funding_source is not None and caller.role not in STAFF:
            raise FORBIDDEN("Only staff can name a funding source.")
        if caller.role == CASE_MANAGER:
            buyer = await self._of_caseload(caller, buyer, enrollment)
        if enrollment.contact is not None:
            if caller.role not in STAFF:
                raise FORBIDDEN("Only staff can state a student's contact; yours is in your token.")
            buyer = replace(buyer, contact=enrollment.contact)
        if enrollment.funding_source is None and _is_sponsored(enrollment):
            raise FUNDING_SOURCE_MISSING()
        sponsor, request, quote = await self._request(buyer, enrollment)
        payer = buyer
        if sponsor is not None:
            payer = self._billed_to(sponsor, buyer)
            request = replace(request, bill_to=payer.bill_to)
        if request.payment_flow == "intent":
            free = await self._purchases.open(self._intent_flow, request, payer, quote=quote)
            return OpenEnrollment(purchase_id=free.purchase_id, client_secret=None, due_now=None)
        return await self._purchases.open(self._plan_flow, request, payer, quote=quote)

    async def _of_caseload(self, caller: Caller, buyer: Buyer, enrollment: EnrollmentRequest) -> Buyer:
        """The buyer, who adds a new student to the caseload if a sponsor pays. Raises Problem 403."""
        if enrollment.student_id != caller.id and enrollment.funding_source is not None:
            return replace(buyer, admits=enrollment.student_id)
        if enrollment.funding_source is not None:
            raise FORBIDDEN("No case manager can ask a sponsor to pay for themselves.")
        if enrollment.student_id != caller.id:
            async with self._context.unit_of_work(buyer) as uow:
                await caseload.require(uow.db, caller.id, enrollment.student_id)
        return buyer

    async def _request(
        self, buyer: Buyer, enrollment: EnrollmentRequest
    ) -> tuple[Sponsor | None, PurchaseRequest, Quote]:
        async with self._context.preview(buyer) as uow:
            item = await _item(uow.db, enrollment.product)
            sponsor = await self._sponsor(uow.db, enrollment.funding_source)
            tier = await self._member_tier(uow.db, enrollment.student_id)
        async with self._context.preview(buyer) as uow:
            request, quote = await build_request(
                uow.db,
                item,
                enrollment.student_id,
                at=utc_now(),
                promotion_code=enrollment.promotion_code,
                price=item.funding_amount if sponsor is not None else None,
                payment_flow="installments",
            )
        if sponsor is not None:  # one invoice over the whole amount, also if students may have a plan
            program = request.program.model_copy(update={"id": enrollment.program_id or request.program.id})
            request = replace(
                request,
                program=program,
                payer="sponsor",
                funding_source=sponsor.code,
                authorization_number=enrollment.authorization_number,
                period=enrollment.period,
                cap=enrollment.cap,
                co_pay=enrollment.co_pay,
                payment_flow="installments" if request.amount.amount else "intent",
                plan=FULL,
            )
            _check_co_pay(request)
            return sponsor, request, quote
        plan = applicable_plan(detect_plan(item, tier, rules.checked_in()), request.amount)
        count = len(plan_installments(plan, request.amount, await self._clock.now()))
        if not count:  # the discount covers everything: there is nothing to collect
            return sponsor, replace(request, payment_flow="intent"), quote
        if count > 1:
            request = replace(request, payment_type="plan", installments=count)
        return sponsor, replace(request, plan=plan), quote

    def _billed_to(self, sponsor: Sponsor, buyer: Buyer) -> Buyer:
        bill_to = sponsor.finance_email or self._context.settings.sponsor_finance_email
        if bill_to is None:
            raise NO_FINANCE_EMAIL()
        return replace(buyer, bill_to=bill_to, payer_contact=Contact(email=bill_to, name=sponsor.name))

    async def _sponsor(self, db: AsyncConnection, code: str | None) -> Sponsor | None:
        if code is None:
            return None
        if (sponsor := await find_sponsor(db, code)) is None:
            raise UNKNOWN_FUNDING_SOURCE()
        return sponsor


def _is_sponsored(enrollment: EnrollmentRequest) -> bool:
    """Whether it states what only a sponsor's purchase has."""
    return any((enrollment.authorization_number, enrollment.period, enrollment.co_pay))


def _check_co_pay(request: PurchaseRequest) -> None:
    """Raises Problem 422 for a co-pay that is not a part of the price."""
    if request.co_pay is None:
        return
    if request.co_pay.currency != request.amount.currency:
        raise CO_PAY_REFUSED()
    if request.co_pay.amount < MIN_AMOUNT or request.amount.amount - request.co_pay.amount < MIN_AMOUNT:
        raise CO_PAY_REFUSED()


async def _item(db: AsyncConnection, reference: str) -> Item:
    item = await find_any_item(db, reference)
    if item is None:
        raise UNKNOWN_PRODUCT()
    if not item.on_sale:
        raise PRODUCT_INACTIVE()
    if item.kind == "membership":
        raise USE_MEMBERSHIPS()
    if item.kind == "merchandise":
        raise NO_ENROLLMENT()
    return item
