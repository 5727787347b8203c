"""An enrollment as its payer and the staff see it. Amounts are minor units."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, model_validator
from sqlalchemy import Row, case, func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.installments import repository
from checkout.installments.domain import PAYABLE
from checkout.installments.tables import schedules
from checkout.payments.domain import NOT_MONEY
from checkout.payments.tables import payments, refunds
from checkout.purchases.tables import enrollments, purchases
from contracts.people import enrollment_uuid
from kit.db.database import row_dict

EnrollmentStatus = Literal[
    "awaiting_payment", "processing", "active", "pending", "paused", "withdrawn", "completed", "canceled", "expired"
]


class ScheduleView(BaseModel):
    """One amount due. `failure_code` is why the last attempt failed; `pay_url` is where it can be paid."""

    id: UUID
    position: int
    kind: str
    amount: int
    currency: str
    due_at: datetime
    status: str
    attempts: int
    next_attempt_at: datetime | None
    failure_code: str | None
    pay_url: str | None
    paid_at: datetime | None


class PaymentView(BaseModel):
    id: UUID
    amount: int
    tax: int
    refunded: int
    currency: str
    status: str
    method: str | None
    paid_at: datetime | None


class RefundView(BaseModel):
    id: UUID
    payment_id: UUID
    amount: int
    currency: str
    status: str
    reason: str
    created_at: datetime


class NextDue(BaseModel):
    schedule_id: UUID
    amount: int
    currency: str
    due_at: datetime


class PaymentOverview(BaseModel):
    """`payment_plan` null: it is paid on a page of Stripe's, or in one sum."""

    enrollment_id: UUID
    purchase_id: UUID
    payment_plan: dict[str, Any] | None
    price: int
    paid: int
    refunded: int
    due: int
    currency: str
    schedules: list[ScheduleView]
    payments: list[PaymentView]
    refunds: list[RefundView]
    next_due: NextDue | None


class EnrollmentView(BaseModel):
    """`status`: the enrollment's, once there is one; before that, how far the payment is."""

    id: UUID
    enrollment_id: UUID
    student_id: UUID
    product: str
    name: str
    kind: str
    status: str
    payer: str
    plan: str
    price: int
    paid: int
    due: int
    currency: str
    next_due_at: datetime | None
    created_at: datetime

    @model_validator(mode="before")
    @classmethod
    def _with_enrollment(cls, row: dict[str, Any]) -> dict[str, Any]:
        enrollment_id = row.get("enrollment_id") or enrollment_uuid(row["student_id"], row["covers"][0])
        return {**row, "enrollment_id": enrollment_id}


def schedule_view(row: Row[Any]) -> ScheduleView:
    return ScheduleView.model_validate(row_dict(row))


async def overview(db: AsyncConnection, purchase: Row[Any]) -> PaymentOverview:
    """As far as the caller of this transaction may see."""
    dues = await repository.of_purchase(db, purchase.id)
    made = await repository.payments_of(db, purchase.id)
    wanted = select(refunds).where(refunds.c.purchase_id == purchase.id).order_by(refunds.c.created_at, refunds.c.id)
    back = (await db.execute(wanted)).all()
    came = [each for each in made if each.status == "succeeded" and each.method not in NOT_MONEY]
    # the rest at once is what the other amounts are one by one
    owed = [each for each in dues if each.status in PAYABLE and (each.kind != "remainder" or purchase.how == "page")]
    first = min(owed, key=lambda each: (each.due_at, each.position), default=None)
    return PaymentOverview(
        enrollment_id=enrollment_of(purchase),
        purchase_id=purchase.id,
        payment_plan=purchase.payment_plan,
        price=purchase.amount,
        paid=sum(each.amount for each in came),
        refunded=sum(each.refunded for each in came),
        due=sum(each.amount for each in owed),
        currency=purchase.currency,
        schedules=[schedule_view(each) for each in dues],
        payments=[PaymentView.model_validate(row_dict(each)) for each in made],
        refunds=[RefundView.model_validate(row_dict(each)) for each in back],
        next_due=None
        if first is None
        else NextDue(schedule_id=first.id, amount=first.amount, currency=first.currency, due_at=first.due_at),
    )


def enrollment_of(purchase: Row[Any]) -> UUID:
    """Of a bundle, that of its first part."""
    known: UUID | None = purchase.enrollment_id
    return known or enrollment_uuid(purchase.student_id, purchase.covers[0])


def owed_enrollments() -> tuple[Any, Any, Any]:
    """The statement of the list, and the columns to narrow it down by: status and plan."""
    mine = (enrollments.c.student_id == purchases.c.student_id, enrollments.c.program_slug == purchases.c.covers[1])
    enrollment = (
        select(enrollments.c.status).where(*mine, enrollments.c.purchase_id == purchases.c.id).scalar_subquery()
    )
    before = case(
        (purchases.c.state.in_(("created", "session_open", "awaiting_payment")), literal("awaiting_payment")),
        (purchases.c.state.in_(("paid", "processing")), literal("processing")),
        (purchases.c.state == "failed", literal("expired")),
        else_=purchases.c.state,
    )
    status = case(
        (purchases.c.state.in_(("canceled", "expired", "failed")), before), else_=func.coalesce(enrollment, before)
    )
    at_stripe = case((purchases.c.payment_type == "plan", literal("installments")), else_=literal("full"))
    plan = func.coalesce(
        purchases.c.payment_plan["type"].astext,
        case((purchases.c.how == "membership", literal("subscription")), else_=at_stripe),
    )
    due = (
        schedules.c.purchase_id == purchases.c.id,
        schedules.c.status.in_(PAYABLE),
        or_(schedules.c.kind != "remainder", purchases.c.how == "page"),
    )
    owed = select(func.coalesce(func.sum(schedules.c.amount), 0)).where(*due)
    next_due = select(func.min(schedules.c.due_at)).where(*due)
    came = (
        payments.c.purchase_id == purchases.c.id,
        payments.c.status == "succeeded",
        func.coalesce(payments.c.method, "").not_in(NOT_MONEY),
    )
    paid = select(func.coalesce(func.sum(payments.c.amount), 0)).where(*came)
    wanted = select(
        purchases.c.id,
        purchases.c.enrollment_id,
        purchases.c.student_id,
        purchases.c.covers,
        purchases.c.program_slug.label("product"),
        purchases.c.program_name.label("name"),
        purchases.c.item_kind.label("kind"),
        status.label("status"),
        purchases.c.payer,
        plan.label("plan"),
        purchases.c.amount.label("price"),
        paid.scalar_subquery().label("paid"),
        owed.scalar_subquery().label("due"),
        purchases.c.currency,
        next_due.scalar_subquery().label("next_due_at"),
        purchases.c.created_at,
    )
    return wanted, status, plan
