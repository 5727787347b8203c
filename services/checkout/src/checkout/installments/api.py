"""Purchases and enrollments with their installments, and paying them."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, model_validator

from checkout.exact_json import ExactJson
from checkout.installments import repository, views
from checkout.installments.dependencies import Enrollments, InstallmentPayments, staff_buyer
from checkout.installments.enrollment_service import STAFF, EnrollmentRequest
from checkout.installments.payment_service import RequestedPayment, unknown_enrollment
from checkout.installments.sponsor_api import AuthorizationNumber, PositiveMoney, period_of
from checkout.installments.views import InstallmentView, PaymentOverview, PurchaseStatus, PurchaseView
from checkout.mail import Address
from checkout.purchases.contact_api import PersonName, contact_of
from checkout.purchases.dependencies import CurrentSettings, buyer_of
from checkout.purchases.repository import find_purchase
from checkout.purchases.tables import purchases
from checkout.settings import ApiSettings
from contracts.people import Payer
from kit.http.auth import CurrentCaller
from kit.http.dependencies import CallerUnitOfWork, CurrentDatabase
from kit.http.idempotency import IDEMPOTENT, once
from kit.http.openapi import example
from kit.http.paging import NEWEST, Cursor, Page, page_of

router = APIRouter(tags=["enrollments"], route_class=ExactJson)


class NewEnrollment(
    BaseModel,
    json_schema_extra=example(product_id="barber-apprenticeship", user_id="0b2f6c1e-6f0e-4d0a-8d52-9c7f3a1e2b44"),
):
    """`product_id`: the id, the slug, or the id in the system that registered it. `user_id`: the student.

    Staff only: the student's name and email address; and with `funding_source`, a sponsor pays, by an invoice that
    states the authorization number and the period of the training, less the student's `co_pay`. Case managers name
    students of their caseload; with a funding source, also one who has never had a case manager, and who joins it.
    """

    product_id: Annotated[str, Field(min_length=1, max_length=200)]
    user_id: UUID
    promotion_code: Annotated[str | None, Field(min_length=1, max_length=100)] = None
    funding_source: Annotated[str | None, Field(min_length=1, max_length=50)] = None
    authorization_number: AuthorizationNumber | None = None
    period_start: date | None = None
    period_end: date | None = None
    co_pay: PositiveMoney | None = None
    student_name: PersonName | None = None
    student_email: Address | None = None

    @model_validator(mode="after")
    def _is_a_period(self) -> Self:
        period_of(self.period_start, self.period_end)
        return self


class EnrollmentAnswer(BaseModel):
    """`schedules` are the installments. `stripe_client_secret` null: there is no payment to confirm (nothing is due, a
    sponsor is invoiced, or the school records payments by hand)."""

    enrollment_id: UUID
    purchase_id: UUID
    payment_plan: dict[str, Any] | None
    schedules: list[InstallmentView]
    stripe_client_secret: str | None
    requires_immediate_payment: bool
    stripe_publishable_key: str


class PayAnswer(BaseModel):
    """`amount` is minor units."""

    installment_id: UUID | None
    stripe_client_secret: str
    payment_intent_id: str
    amount: int
    currency: str
    stripe_publishable_key: str


@router.post("/api/enrollments", status_code=201, response_model=EnrollmentAnswer, dependencies=IDEMPOTENT)
async def enroll(
    request: Request,
    database: CurrentDatabase,
    enrollments: Enrollments,
    settings: CurrentSettings,
    body: NewEnrollment,
    caller: CurrentCaller,
) -> JSONResponse:
    """Enrolls a student with the payment plan that applies to the product. The first installment is paid with the
    client secret."""
    buyer = buyer_of(caller) if body.user_id == caller.id else staff_buyer(caller)

    async def act() -> EnrollmentAnswer:
        enrollment = EnrollmentRequest(
            product=body.product_id,
            student_id=body.user_id,
            promotion_code=body.promotion_code,
            funding_source=body.funding_source,
            authorization_number=body.authorization_number,
            period=period_of(body.period_start, body.period_end),
            co_pay=body.co_pay.money if body.co_pay else None,
            contact=contact_of(email=body.student_email, name=body.student_name),
        )
        opened = await enrollments.enroll(caller, buyer, enrollment)
        async with database.transaction_of(student_id=caller.id, role=caller.role) as db:
            purchase = await find_purchase(db, opened.purchase_id)
            assert purchase is not None  # noqa: S101  stored a moment ago
            installments = await repository.of_purchase(db, purchase.id)
        return EnrollmentAnswer(
            enrollment_id=purchase.first_enrollment_id,
            purchase_id=purchase.id,
            payment_plan=None if purchase.payment_plan is None else dict(purchase.payment_plan),
            schedules=[views.installment_view(each) for each in installments],
            stripe_client_secret=opened.client_secret,
            requires_immediate_payment=opened.due_now is not None,
            stripe_publishable_key=settings.stripe_publishable_key,
        )

    return await once(request, database, caller=str(caller.id), act=act, status=201)


@router.get("/api/purchases")
async def list_purchases(
    uow: CallerUnitOfWork,
    caller: CurrentCaller,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    sort: Literal["-created_at", "created_at", "-amount", "amount"] = NEWEST,
    status: PurchaseStatus | None = None,
    user_id: UUID | None = None,
    product: Annotated[str | None, Query(max_length=200, description="the slug")] = None,
    plan: Annotated[str | None, Query(max_length=50, description="the payment plan's type")] = None,
    reason: Annotated[str | None, Query(max_length=50, description="why it is not simply paid: underpaid, …")] = None,
    payer: Payer | None = None,
    funding_source: Annotated[str | None, Query(max_length=50, description="the sponsor's code")] = None,
) -> Page[PurchaseView]:
    """The caller's purchases, newest first; for case managers, their caseload's; for admins, everyone's."""
    wanted, status_of, plan_of = views.select_purchases()
    if caller.role not in STAFF:
        wanted = wanted.where(purchases.c.student_id == caller.id)
    if user_id is not None:
        wanted = wanted.where(purchases.c.student_id == user_id)
    if product is not None:
        wanted = wanted.where(purchases.c.program_slug == product)
    if status is not None:
        wanted = wanted.where(status_of == status)
    if plan is not None:
        wanted = wanted.where(plan_of == plan)
    if reason is not None:
        wanted = wanted.where(purchases.c.state_reason == reason)
    if payer is not None:
        wanted = wanted.where(purchases.c.payer == payer)
    if funding_source is not None:
        wanted = wanted.where(purchases.c.payer == "sponsor", purchases.c.funding_source == funding_source.upper())
    return await page_of(uow.db, wanted, purchases, PurchaseView, cursor=cursor, limit=limit, sort=sort)


@router.get("/api/enrollments/{id}/payment")
async def read_enrollment_payment(id: UUID, uow: CallerUnitOfWork) -> PaymentOverview:
    """The plan, the installments, payments and refunds. `id`: the enrollment's or the purchase's."""
    purchase = await find_purchase(uow.db, id)
    if purchase is None:
        raise unknown_enrollment()
    return await views.payment_overview(uow.db, purchase)


@router.post("/api/payments/schedules/{id}/intent")
async def pay_installment(id: UUID, payments: InstallmentPayments, settings: CurrentSettings) -> PayAnswer:
    """Pays one installment now: early, after a failed charge, or if the bank requires the payer to confirm."""
    return _pay_answer(await payments.pay_installment(id), settings)


@router.post("/api/enrollments/{id}/pay-remaining")
async def pay_remainder(id: UUID, payments: InstallmentPayments, settings: CurrentSettings) -> PayAnswer:
    """Pays everything left in one payment. The installments it covers are closed once it has succeeded."""
    return _pay_answer(await payments.pay_remainder(id), settings)


def _pay_answer(payment: RequestedPayment, settings: ApiSettings) -> PayAnswer:
    return PayAnswer(
        installment_id=payment.installment_id,
        stripe_client_secret=payment.form.client_secret or "",
        payment_intent_id=payment.form.intent_id,
        amount=payment.form.amount.amount,
        currency=payment.form.amount.currency,
        stripe_publishable_key=settings.stripe_publishable_key,
    )
