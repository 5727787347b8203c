"""Responses about a purchase and its installments. Amounts are minor units; `price` is the amount in major units."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, model_validator
from sqlalchemy import ColumnElement, Select, case, func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.catalog.item import PlanType
from checkout.installments import repository
from checkout.installments.domain import PAYABLE, Installment, InstallmentKind, InstallmentStatus
from checkout.installments.external_plans import ExternalInstallment, external_installments, is_external_plan
from checkout.installments.tables import installments
from checkout.payments.domain import NOT_MONEY, PaymentStatus, RefundStatus
from checkout.payments.repository import payments_of, refunds_of_purchase
from checkout.payments.tables import payments
from checkout.purchases.repository import PurchaseRow
from checkout.purchases.tables import enrollments, purchases
from checkout.units import Price, in_major_units
from contracts.people import ItemKind, Payer, enrollment_uuid

PurchaseStatus = Literal[
    "awaiting_payment",
    "processing",
    "active",
    "pending",
    "paused",
    "withdrawn",
    "completed",
    "canceled",
    "expired",
    "paid",
]


CollectedBy = Literal["checkout", "stripe"]


class InstallmentView(BaseModel):
    """`failure_code`: why the last attempt failed; `pay_url`: where the installment can be paid."""

    id: UUID
    position: int
    kind: InstallmentKind
    amount: int
    currency: str
    due_at: datetime
    status: InstallmentStatus
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
    status: PaymentStatus
    method: str | None
    paid_at: datetime | None


class RefundView(BaseModel):
    id: UUID
    payment_id: UUID
    amount: int
    currency: str
    status: RefundStatus
    reason: str
    created_at: datetime


class NextDue(BaseModel):
    installment_id: UUID
    amount: int
    currency: str
    due_at: datetime


class PaymentOverview(BaseModel):
    """`payment_plan` null: it is paid in one payment, or by a plan that Stripe collects. `schedules` are its
    installments; `collected_by` stripe: a plan that was not started here, which Stripe charges by its own calendar.
    `reason`: why it is not simply paid, such as underpaid, of which `shortfall` is missing."""

    enrollment_id: UUID
    purchase_id: UUID
    payment_plan: dict[str, Any] | None
    collected_by: CollectedBy
    reason: str | None
    price: Price
    amount: int
    shortfall: int
    paid: int
    refunded: int
    due: int
    currency: str
    schedules: list[InstallmentView]
    payments: list[PaymentView]
    refunds: list[RefundView]
    next_due: NextDue | None
    collection_stopped: str | None


class PurchaseView(BaseModel):
    """`status`: the enrollment's, if there is one; until then, the payment's. (Merchandise is paid and has none.)
    `reason`: why it is not simply paid, such as underpaid, of which `shortfall` is missing. `collected_by` stripe: a
    plan that was not started here. `co_pay`: what the student pays of the `amount` of a sponsor's purchase."""

    id: UUID
    enrollment_id: UUID
    student_id: UUID
    product: str
    name: str
    kind: ItemKind
    status: PurchaseStatus
    reason: str | None
    payer: Payer
    funding_source: str | None
    plan: PlanType
    collected_by: CollectedBy
    price: Price
    amount: int
    co_pay: int | None
    shortfall: int
    paid: int
    due: int
    currency: str
    next_due_at: datetime | None
    created_at: datetime

    @model_validator(mode="before")
    @classmethod
    def _with_enrollment(cls, row: dict[str, Any]) -> dict[str, Any]:
        enrollment_id = row.get("enrollment_id") or enrollment_uuid(row["student_id"], row["covers"][0])
        return {**row, "enrollment_id": enrollment_id, "price": in_major_units(row["amount"], row["currency"])}


def installment_view(installment: Installment) -> InstallmentView:
    return InstallmentView.model_validate(installment, from_attributes=True)


def _external_view(installment: ExternalInstallment) -> InstallmentView:
    return InstallmentView(
        id=installment.id,
        position=installment.position,
        kind="installment",
        amount=installment.amount,
        currency=installment.currency,
        due_at=installment.due_at,
        status=installment.status,
        attempts=0,
        next_attempt_at=None,
        failure_code=None,
        pay_url=None,
        paid_at=installment.paid_at,
    )


async def payment_overview(db: AsyncConnection, purchase: PurchaseRow) -> PaymentOverview:
    """What the caller of this transaction may see of it."""
    own = await repository.of_purchase(db, purchase.id)
    records = await payments_of(db, purchase.id)
    refunds = await refunds_of_purchase(db, purchase.id)
    paid = [each for each in records if each.status == "succeeded" and each.method not in NOT_MONEY]
    schedules = [installment_view(each) for each in own]
    if is_external_plan(purchase):
        schedules = [_external_view(each) for each in external_installments(purchase, records)]
    owed = [each for each in schedules if each.status in PAYABLE and each.kind != "remainder"]  # stands for the others
    first = min(owed, key=lambda each: (each.due_at, each.position), default=None)
    shortfall = purchase.shortfall or 0
    return PaymentOverview(
        enrollment_id=purchase.first_enrollment_id,
        purchase_id=purchase.id,
        payment_plan=None if purchase.payment_plan is None else dict(purchase.payment_plan),
        collected_by="stripe" if is_external_plan(purchase) else "checkout",
        reason=purchase.state_reason,
        price=purchase.price.to_decimal(),
        amount=purchase.amount,
        shortfall=shortfall,
        paid=sum(each.amount for each in paid),
        refunded=sum(each.refunded for each in paid),
        due=sum(each.amount for each in owed) if schedules else shortfall,
        currency=purchase.currency,
        schedules=schedules,
        payments=[PaymentView.model_validate(each, from_attributes=True) for each in records],
        refunds=[RefundView.model_validate(each, from_attributes=True) for each in refunds],
        next_due=None
        if first is None
        else NextDue(installment_id=first.id, amount=first.amount, currency=first.currency, due_at=first.due_at),
        collection_stopped=purchase.collection_stopped,
    )


def select_purchases() -> tuple[Select[Any], ColumnElement[str], ColumnElement[str]]:
    """The statement of the list, and its columns to filter by: status and plan."""
    own = (enrollments.c.student_id == purchases.c.student_id, enrollments.c.program_slug == purchases.c.covers[1])
    enrollment_status = (
        select(enrollments.c.status).where(*own, enrollments.c.purchase_id == purchases.c.id).scalar_subquery()
    )
    payment_status = case(
        ((purchases.c.item_kind == "merchandise") & (purchases.c.state == "paid"), literal("paid")),
        (purchases.c.state.in_(("created", "session_open", "awaiting_payment")), literal("awaiting_payment")),
        (purchases.c.state.in_(("paid", "processing")), literal("processing")),
        (purchases.c.state == "failed", literal("expired")),
        else_=purchases.c.state,
    )
    status = case(
        (purchases.c.state.in_(("canceled", "expired", "failed")), payment_status),
        else_=func.coalesce(enrollment_status, payment_status),
    )
    plan = func.coalesce(
        purchases.c.payment_plan["type"].astext,
        case(
            (purchases.c.payment_flow == "membership", literal("subscription")),
            (purchases.c.payment_type == "plan", literal("installments")),
            else_=literal("full"),
        ),
    )
    is_owed = (
        installments.c.purchase_id == purchases.c.id,
        installments.c.status.in_(PAYABLE),
        installments.c.kind != "remainder",
    )
    due = select(func.coalesce(func.sum(installments.c.amount), 0)).where(*is_owed)
    next_due_at = select(func.min(installments.c.due_at)).where(*is_owed)
    is_paid = (
        payments.c.purchase_id == purchases.c.id,
        payments.c.status == "succeeded",
        func.coalesce(payments.c.method, "").not_in(NOT_MONEY),
    )
    paid = select(func.coalesce(func.sum(payments.c.amount), 0)).where(*is_paid)
    external = (purchases.c.payment_flow == "external") & (purchases.c.payment_type == "plan")
    due_here = func.coalesce(func.nullif(due.scalar_subquery(), 0), purchases.c.shortfall, 0)
    due_at_stripe = func.greatest(purchases.c.amount - paid.scalar_subquery(), 0)
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
        purchases.c.funding_source,
        plan.label("plan"),
        purchases.c.amount,
        purchases.c.co_pay,
        paid.scalar_subquery().label("paid"),
        case((external & purchases.c.next_charge_at.is_not(None), due_at_stripe), else_=due_here).label("due"),
        purchases.c.state_reason.label("reason"),
        func.coalesce(purchases.c.shortfall, 0).label("shortfall"),
        case((external, literal("stripe")), else_=literal("checkout")).label("collected_by"),
        purchases.c.currency,
        func.coalesce(next_due_at.scalar_subquery(), purchases.c.next_charge_at).label("next_due_at"),
        purchases.c.created_at,
    )
    return wanted, status, plan
