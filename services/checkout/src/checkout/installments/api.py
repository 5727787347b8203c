"""Enrolling with a plan, what is due for it, and paying that."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, Any, cast
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from checkout.installments import repository, views
from checkout.installments.payment import Paying, ToPay, unknown_enrollment
from checkout.installments.plan_purchase import STAFF, Application, Enrolling
from checkout.installments.views import EnrollmentStatus, EnrollmentView, PaymentOverview, ScheduleView
from checkout.purchases.dependencies import buyer_of, database_of, desk_of, settings_of
from checkout.purchases.tables import purchases
from kit.http.auth import Caller, CurrentCaller
from kit.http.idempotency import HONOURS_KEY, once
from kit.http.paging import Cursor, Page, page_of

router = APIRouter(tags=["enrollments"])


class NewEnrollment(BaseModel):
    """`product_id`: the id, the slug, or the id in the system that registered it. `funding_source`: for staff."""

    product_id: Annotated[str, Field(min_length=1, max_length=200)]
    user_id: UUID
    promotion_code: Annotated[str | None, Field(min_length=1, max_length=100)] = None
    funding_source: Annotated[str | None, Field(min_length=1, max_length=50)] = None


class EnrollmentAnswer(BaseModel):
    """`stripe_client_secret` null: nothing is to be confirmed here (nothing is due, a sponsor is billed, or the school
    takes the money by hand)."""

    enrollment_id: UUID
    purchase_id: UUID
    payment_plan: dict[str, Any] | None
    schedules: list[ScheduleView]
    stripe_client_secret: str | None
    requires_immediate_payment: bool
    stripe_publishable_key: str


class PayAnswer(BaseModel):
    """`amount` is minor units."""

    schedule_id: UUID
    stripe_client_secret: str
    payment_intent_id: str
    amount: int
    currency: str
    stripe_publishable_key: str


@router.post("/api/enrollments", status_code=201, response_model=EnrollmentAnswer, dependencies=HONOURS_KEY)
async def enroll(request: Request, wanted: NewEnrollment, caller: CurrentCaller) -> JSONResponse:
    """The plan is detected from the product; its first amount can be paid with the client secret."""
    buyer = buyer_of(caller)
    if wanted.user_id != caller.id:
        buyer = buyer_of(Caller(id=caller.id, role=caller.role))

    async def act() -> EnrollmentAnswer:
        asked = Application(
            product=wanted.product_id,
            student_id=wanted.user_id,
            promotion_code=wanted.promotion_code,
            funding_source=wanted.funding_source,
        )
        opened = await enrolling_of(request).enroll(caller, buyer, asked)
        async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as db:
            purchase = await repository.find_purchase(db, opened.purchase_id)
            assert purchase is not None  # noqa: S101  made just now
            rows = await repository.of_purchase(db, purchase.id)
        return EnrollmentAnswer(
            enrollment_id=views.enrollment_of(purchase),
            purchase_id=purchase.id,
            payment_plan=purchase.payment_plan,
            schedules=[views.schedule_view(row) for row in rows],
            stripe_client_secret=opened.client_secret,
            requires_immediate_payment=opened.due_now is not None,
            stripe_publishable_key=settings_of(request).stripe_publishable_key,
        )

    return await once(request, database_of(request), caller=str(caller.id), act=act, status=201)


@router.get("/api/enrollments")
async def list_enrollments(
    request: Request,
    caller: CurrentCaller,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    status: EnrollmentStatus | None = None,
    user_id: UUID | None = None,
    product: Annotated[str | None, Query(max_length=200, description="the slug")] = None,
    plan: Annotated[str | None, Query(max_length=50, description="the type of the plan")] = None,
) -> Page[EnrollmentView]:
    """One's own; of everybody, for staff."""
    wanted, status_of, plan_of = views.owed_enrollments()
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
    async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as db:
        return await page_of(db, wanted, purchases, EnrollmentView, cursor=cursor, limit=limit)


@router.get("/api/enrollments/{id}/payment")
async def enrollment_payment(request: Request, id: UUID, caller: CurrentCaller) -> PaymentOverview:
    """Plan, amounts due, payments, refunds, and what is due next. `id`: the enrollment's or the purchase's."""
    async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as db:
        purchase = await repository.find_purchase(db, id)
        if purchase is None:
            raise unknown_enrollment()
        return await views.overview(db, purchase)


@router.post("/api/payments/schedules/{id}/intent")
async def pay_schedule(request: Request, id: UUID, caller: CurrentCaller) -> PayAnswer:
    """Pays one amount now: early, after a failure, or because the bank wants the payer to be there."""
    return await _answer(request, _paying(request, caller).now(id))


@router.post("/api/enrollments/{id}/pay-remaining")
async def pay_remaining(request: Request, id: UUID, caller: CurrentCaller) -> PayAnswer:
    """Pays all that is left, in one sum. What it covers is closed when it is paid."""
    return await _answer(request, _paying(request, caller).rest(id))


def enrolling_of(request: Request) -> Enrolling:
    return cast(Enrolling, request.app.state.enrolling)


async def _answer(request: Request, paid: Awaitable[ToPay]) -> PayAnswer:
    found = await paid
    return PayAnswer(
        schedule_id=found.schedule_id,
        stripe_client_secret=found.intent.client_secret or "",
        payment_intent_id=found.intent.id,
        amount=found.intent.amount.amount,
        currency=found.intent.amount.currency,
        stripe_publishable_key=settings_of(request).stripe_publishable_key,
    )


def _paying(request: Request, caller: Caller) -> Paying:
    state = request.app.state
    return Paying(desk_of(request), state.customers, state.clock, buyer_of(caller))
