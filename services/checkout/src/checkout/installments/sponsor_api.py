"""The funding route: a case manager asks a sponsor to pay for a student. `POST /api/enrollments` with a funding source
makes the same purchase."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, Self
from uuid import UUID, uuid4

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from checkout.catalog import repository as catalog
from checkout.installments import repository
from checkout.installments.dependencies import Enrollments, staff_buyer
from checkout.installments.enrollment_service import EnrollmentRequest
from checkout.mail import Address
from checkout.problems import NOTHING_DUE, PROGRAM_MISMATCH, UNKNOWN_PROGRAM, UNKNOWN_PURCHASE
from checkout.purchases.contact_api import PersonName, contact_of
from checkout.purchases.context import rejected_by_stripe, stripe_errors_as_problems
from checkout.purchases.dependencies import CurrentContext
from checkout.purchases.domain import Period
from checkout.purchases.repository import read_row
from checkout.stripe_client import StripeNotConfigured, StripeRejected, StripeUnavailable
from contracts.money import Currency, Money
from contracts.people import ItemKind
from kit.http.auth import CaseManager
from kit.http.dependencies import CurrentDatabase
from kit.http.idempotency import IDEMPOTENT, once
from kit.http.openapi import example

router = APIRouter(tags=["checkout"])

_PROGRAMS: tuple[ItemKind, ...] = ("program",)


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("control characters")
    return text


AuthorizationNumber = Annotated[str, AfterValidator(_printable), Field(min_length=1, max_length=100)]
"""The sponsor's own number for paying for this student; it is printed on the invoice."""


class PositiveMoney(BaseModel):
    """`amount` in minor units."""

    model_config = ConfigDict(extra="forbid")

    amount: Annotated[int, Field(strict=True, ge=1, le=10**12)]
    currency: Currency

    @property
    def money(self) -> Money:
        return Money(amount=self.amount, currency=self.currency)


class FundingRequest(
    BaseModel,
    json_schema_extra=example(
        studentId="0b2f6c1e-6f0e-4d0a-8d52-9c7f3a1e2b44",
        programId="17",
        programSlug="barber-apprenticeship",
        fundingSource="WIOA",
        authorizationNumber="WIOA-2027-0193",
        cap={"amount": 500_000, "currency": "usd"},
        studentName="Jordan Rivera",
    ),
):
    """`programId` is the caller's own id of the program; the slug selects it. The invoice states the student's name,
    the authorization number and the period of the training, as far as they are given. `cap`: what the sponsor has
    authorized by this number; a price above it is refused, and so are several that sum to more. It holds until another
    one is stated for the number. `coPay`: what the student pays of the price; the sponsor is invoiced for the
    rest, to which the cap applies. When it has paid, the student gets a link for the co-pay, and the enrollment opens
    when that is paid too."""

    studentId: UUID
    programId: Annotated[str, Field(min_length=1, max_length=200)]
    programSlug: Annotated[str, Field(min_length=1, max_length=200)]
    fundingSource: Annotated[str, Field(min_length=1, max_length=50)] = "WIOA"
    authorizationNumber: AuthorizationNumber | None = None
    periodStart: date | None = None
    periodEnd: date | None = None
    cap: PositiveMoney | None = None
    coPay: PositiveMoney | None = None
    studentName: PersonName | None = None
    studentEmail: Address | None = None

    @model_validator(mode="after")
    def _is_a_period(self) -> Self:
        period_of(self.periodStart, self.periodEnd)
        if self.cap is not None and self.authorizationNumber is None:
            raise ValueError("a cap is that of an authorization number")
        return self


class FundingAnswer(BaseModel):
    """`url`: where the sponsor pays. It stays valid until the invoice is paid or withdrawn. `sessionId`: the id of
    Stripe's object, which is an invoice (`in_…`)."""

    ok: Literal[True] = True
    url: str
    sessionId: str


@router.post("/api/funding/create-checkout", response_model=FundingAnswer, dependencies=IDEMPOTENT)
async def create_funding_checkout(
    request: Request,
    body: FundingRequest,
    caller: CaseManager,
    database: CurrentDatabase,
    context: CurrentContext,
    enrollments: Enrollments,
) -> JSONResponse:
    """Invoices a sponsor for a student's program. The same request again returns the same invoice. A student who has
    never had a case manager joins the caller's caseload; 403 `not_in_caseload` for another one's.

    503 if Stripe cannot be reached: the purchase exists then, and its invoice follows by itself.
    """
    if not context.stripe.configured:
        with stripe_errors_as_problems():
            raise StripeNotConfigured("STRIPE_API_KEY is not set")
    async with database.transaction() as db:
        program = await catalog.find_item(db, body.programSlug, kinds=_PROGRAMS)
        named = await catalog.slug_of(db, body.programId)
    if program is None:
        raise UNKNOWN_PROGRAM()
    if named not in (None, program.slug):
        raise PROGRAM_MISMATCH()
    enrollment = EnrollmentRequest(
        product=str(program.id),
        student_id=body.studentId,
        funding_source=body.fundingSource,
        program_id=body.programId,
        authorization_number=body.authorizationNumber,
        period=period_of(body.periodStart, body.periodEnd),
        cap=body.cap.money if body.cap else None,
        co_pay=body.coPay.money if body.coPay else None,
        contact=contact_of(email=body.studentEmail, name=body.studentName),
    )

    async def act() -> FundingAnswer:
        buyer = staff_buyer(caller)
        opened = await enrollments.enroll(caller, buyer, enrollment)
        async with context.unit_of_work(buyer) as uow:
            installments = await repository.of_purchase(uow.db, opened.purchase_id)
        invoice_id = next((each.stripe_invoice_id for each in installments if not each.is_co_pay), None)
        if invoice_id is None:
            with stripe_errors_as_problems():
                raise StripeUnavailable("the invoice does not exist yet")
        return FundingAnswer(url=context.pay_link(opened.purchase_id), sessionId=invoice_id)

    return await once(request, database, caller=str(caller.id), act=act)


@router.post("/api/funding/{id}/send", response_model=FundingAnswer, dependencies=IDEMPOTENT)
async def send_funding_invoice(
    request: Request, id: UUID, caller: CaseManager, database: CurrentDatabase, context: CurrentContext
) -> JSONResponse:
    """Has Stripe mail the sponsor's open invoice once more. `id`: of the purchase."""

    async def act() -> FundingAnswer:
        async with context.unit_of_work(staff_buyer(caller)) as uow:
            purchase = await read_row(uow.db, id)
            installments = await repository.of_purchase(uow.db, id)
        if purchase is None:
            raise UNKNOWN_PURCHASE()
        open_ = [each for each in installments if each.is_payable and not each.is_co_pay]
        invoices = [each.stripe_invoice_id for each in open_ if each.stripe_invoice_id]
        if purchase.payer != "sponsor" or not invoices:
            raise NOTHING_DUE("No sponsor's invoice is open for this purchase.")
        try:
            with stripe_errors_as_problems():
                sent = await context.stripe.send_invoice(invoices[0], key=f"{invoices[0]}/again/{uuid4()}")
        except StripeRejected:
            raise rejected_by_stripe() from None
        if sent.status != "open":
            raise NOTHING_DUE("The sponsor's invoice is no longer open.")
        return FundingAnswer(url=context.pay_link(id), sessionId=sent.id)

    return await once(request, database, caller=str(caller.id), act=act)


def period_of(start: date | None, end: date | None) -> Period | None:
    """Raises ValueError for half a period, or one that ends before it starts."""
    if start is None and end is None:
        return None
    if start is None or end is None:
        raise ValueError("a period has a start and an end")
    if end < start:
        raise ValueError("the period ends before it starts")
    return Period(start=start, end=end)
