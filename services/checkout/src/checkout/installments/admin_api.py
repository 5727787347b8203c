"""Installments and cancellations for admins, and the test clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field, StrictInt
from sqlalchemy import Row, func, select

from checkout.exact_json import ExactJson
from checkout.installments import collection_stop, repository, transitions
from checkout.installments.dependencies import AdminBuyer, Cancellations, CurrentClock, ManualPayments, TestClock
from checkout.installments.domain import Installment, InstallmentStatus, ManualMethod
from checkout.installments.payment_requests import PaymentRequests
from checkout.installments.payment_service import installment_busy, not_due, unknown_installment
from checkout.installments.tables import COUNTED, installments
from checkout.installments.views import InstallmentView
from checkout.problems import (
    DUE_DATE_OUT_OF_RANGE,
    INSTALLMENT_CLOSED,
    INSTALLMENT_OVERDUE,
    SPONSOR_HAS_NOT_PAID,
    UNKNOWN_PURCHASE,
)
from checkout.purchases.context import Buyer, CheckoutContext, rejected_by_stripe, stripe_errors_as_problems
from checkout.purchases.dependencies import CurrentContext
from checkout.purchases.repository import PurchaseRow, extend_expiry, lock_purchase
from checkout.stripe_client import StripeRejected
from checkout.units import MajorUnits
from contracts.audit import Act, Action
from kit.db.database import row_dict
from kit.db.unit_of_work import UnitOfWork
from kit.http import audit
from kit.http.auth import Admin
from kit.http.dependencies import CallerUnitOfWork
from kit.http.openapi import example
from kit.http.paging import NEWEST, Cursor, Page, page_of

router = APIRouter(tags=["admin"], route_class=ExactJson)

_SCHEDULES = "/api/admin/payments/schedules"
_MAX_DELAY = timedelta(days=3 * 366)


class AdminInstallment(InstallmentView):
    purchase_id: UUID
    student_id: UUID
    created_at: datetime


class NewDueDate(BaseModel, json_schema_extra=example(due_at="2027-02-01T17:00:00Z")):
    due_at: AwareDatetime


class NewManualPayment(
    BaseModel,
    json_schema_extra=example(
        payment_method="check", transaction_reference="2041", notes="Handed in at the front desk."
    ),
):
    """`transaction_reference`: the number of the receipt, check or transfer; for a waiver, of the decision."""

    payment_method: ManualMethod
    transaction_reference: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*\S[^\x00]*$")]
    notes: Annotated[str | None, Field(max_length=2000)] = None


class ManualPaymentAnswer(BaseModel):
    """`amount` is minor units."""

    payment_id: UUID
    installment_id: UUID
    payment_method: ManualMethod
    transaction_reference: str
    amount: int
    currency: str
    recorded_at: datetime


class CancellationBody(
    BaseModel, json_schema_extra=example(reason="The student has moved away.", refund_amount="1222.50")
):
    """`refund_amount`: if omitted, the school's policy applies."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    refund_amount: MajorUnits | None = None


class CancellationAnswer(BaseModel):
    """Minor units."""

    enrollment_id: UUID
    purchase_id: UUID
    status: Literal["canceled"] = "canceled"
    reason: str
    paid: int
    refunded: int
    currency: str


class ResumedCollection(BaseModel):
    purchase_id: UUID
    status: Literal["collecting"] = "collecting"


class Sum(BaseModel):
    count: int
    amount: int


class CurrencyStatistics(BaseModel):
    """Minor units. `due`: unpaid and not overdue; `overdue`: after the last attempt."""

    currency: str
    due: Sum
    overdue: Sum
    processing: Sum
    paid: Sum
    waived: Sum
    canceled: Sum


class InstallmentStatistics(BaseModel):
    items: list[CurrencyStatistics]


class Advance(BaseModel, json_schema_extra=example(seconds=2_678_400)):
    seconds: Annotated[StrictInt, Field(ge=1, le=10 * 366 * 86_400)]


class Time(BaseModel):
    now: datetime


@router.get(_SCHEDULES)
async def list_installments(
    _: Admin,
    uow: CallerUnitOfWork,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    sort: Literal["-created_at", "created_at", "due_at", "-due_at", "-amount", "amount"] = NEWEST,
    status: InstallmentStatus | None = None,
    due_from: AwareDatetime | None = None,
    due_to: Annotated[AwareDatetime | None, Query(description="before this time")] = None,
    student_id: UUID | None = None,
) -> Page[AdminInstallment]:
    """All installments, newest first."""
    wanted = select(installments)
    if status is not None:
        wanted = wanted.where(installments.c.status == status)
    if due_from is not None:
        wanted = wanted.where(installments.c.due_at >= due_from)
    if due_to is not None:
        wanted = wanted.where(installments.c.due_at < due_to)
    if student_id is not None:
        wanted = wanted.where(installments.c.student_id == student_id)
    return await page_of(uow.db, wanted, installments, AdminInstallment, cursor=cursor, limit=limit, sort=sort)


@router.get(f"{_SCHEDULES}/statistics")
async def read_installment_statistics(_: Admin, uow: CallerUnitOfWork) -> InstallmentStatistics:
    """How much is due, overdue and paid, per currency."""
    wanted = select(
        installments.c.currency,
        installments.c.status,
        func.count().label("count"),
        func.sum(installments.c.amount).label("amount"),
    ).where(COUNTED)
    rows = (await uow.db.execute(wanted.group_by(installments.c.currency, installments.c.status))).all()
    return InstallmentStatistics(items=[_sums(rows, currency) for currency in sorted({row.currency for row in rows})])


@router.get(f"{_SCHEDULES}/{{id}}")
async def read_installment(id: UUID, _: Admin, uow: CallerUnitOfWork) -> AdminInstallment:
    """One installment."""
    row = (await uow.db.execute(select(installments).where(installments.c.id == id))).one_or_none()
    if row is None:
        raise unknown_installment()
    return AdminInstallment.model_validate(row_dict(row))


@router.patch(f"{_SCHEDULES}/{{id}}")
async def change_due_date(
    context: CurrentContext, buyer: AdminBuyer, clock: CurrentClock, id: UUID, body: NewDueDate
) -> AdminInstallment:
    """Changes the due date. An overdue installment starts over, and no longer pauses its enrollment."""
    await _end_overdue(context, buyer, id)
    async with context.unit_of_work(buyer) as uow:
        purchase, installment = await _payable(uow, id)
        now = await clock.now_in(uow.db)
        if not now <= body.due_at <= now + _MAX_DELAY:
            raise DUE_DATE_OUT_OF_RANGE()
        due_at = body.due_at.astimezone(UTC)
        _require_due_date(installment)
        if installment.status == "overdue":
            if installment.is_requested:
                raise installment_busy()
            await transitions.publish_no_longer_owed(uow, purchase, installment)
            return await _recorded(
                uow, "due_date.changed", installment, await transitions.reopen(uow, installment, now=now, due_at=due_at)
            )
        if installment.position == 1 and installment.awaits_first_payment:
            open_for = timedelta(days=context.settings.enrollment_open_days)
            await extend_expiry(uow.db, purchase.id, until=due_at + open_for)
            return await _recorded(
                uow, "due_date.changed", installment, await repository.write(uow.db, id, at=uow.now, due_at=due_at)
            )
        # a job that the old due date has enqueued and that was not attempted yet becomes void
        changes: repository.InstallmentChanges = {"due_at": due_at, "timers": installment.timers + 1}
        if installment.status == "open":
            changes["next_attempt_at"] = due_at
        return await _recorded(
            uow, "due_date.changed", installment, await repository.write(uow.db, id, at=uow.now, **changes)
        )


@router.post(f"{_SCHEDULES}/{{id}}/pause")
async def pause_installment(_: Admin, uow: CallerUnitOfWork, id: UUID) -> AdminInstallment:
    """Stops collecting the installment; it can still be paid. Idempotent."""
    _purchase, installment = await _payable(uow, id)
    _require_due_date(installment)
    if installment.status == "overdue":
        raise INSTALLMENT_OVERDUE()
    paused = await repository.write(uow.db, id, at=uow.now, status="paused", next_attempt_at=None)
    return await _recorded(uow, "installment.paused", installment, paused)


@router.post(f"{_SCHEDULES}/{{id}}/resume")
async def resume_installment(_: Admin, uow: CallerUnitOfWork, clock: CurrentClock, id: UUID) -> AdminInstallment:
    """Collects the installment again on its due date, or now if that has passed."""
    _purchase, installment = await _payable(uow, id)
    _require_due_date(installment)
    resumed = installment
    if installment.status == "paused":
        at = max(installment.due_at, await clock.now_in(uow.db))
        resumed = await repository.write(uow.db, id, at=uow.now, status="open", next_attempt_at=at)
    return await _recorded(uow, "installment.resumed", installment, resumed)


@router.post(f"{_SCHEDULES}/{{purchase_id}}/resume-collection")
async def resume_collection(_: Admin, uow: CallerUnitOfWork, purchase_id: UUID) -> ResumedCollection:
    """Collects a purchase again that was stopped because its amounts contradicted one another. Idempotent. 409 while
    they still do: refund what was paid too much first."""
    purchase = await lock_purchase(uow.db, purchase_id)
    if purchase is None:
        raise UNKNOWN_PURCHASE("Purchase not found; use the id of the alert.")
    await collection_stop.resume(uow, purchase)
    act = Act.of(
        "collection.resumed",
        "purchase",
        purchase_id,
        purchase_id=purchase_id,
        student_id=purchase.student_id,
        before={"collection_stopped": purchase.collection_stopped},
        after={"collection_stopped": None},
    )
    await audit.record(uow, act)
    return ResumedCollection(purchase_id=purchase_id)


@router.post(f"{_SCHEDULES}/{{id}}/record-payment")
async def record_payment(payments: ManualPayments, id: UUID, body: NewManualPayment) -> ManualPaymentAnswer:
    """Records cash, a check, a transfer or a waiver of the whole installment. The same reference is one payment."""
    recorded = await payments.record(id, body.payment_method, body.transaction_reference.strip(), body.notes)
    return ManualPaymentAnswer(
        payment_id=recorded.id,
        installment_id=recorded.installment_id,
        payment_method=recorded.method,
        transaction_reference=recorded.transaction_reference,
        amount=recorded.amount,
        currency=recorded.currency,
        recorded_at=recorded.created_at,
    )


@router.post("/api/admin/enrollments/{id}/cancel")
async def cancel_enrollment(cancellations: Cancellations, id: UUID, body: CancellationBody) -> CancellationAnswer:
    """Cancels an enrollment: closes open installments, withdraws it, and refunds. `id`: the enrollment's or the
    purchase's."""
    canceled = await cancellations.cancel(id, body.reason, body.refund_amount)
    cancellation = canceled.cancellation
    return CancellationAnswer(
        enrollment_id=canceled.enrollment_id,
        purchase_id=cancellation.purchase_id,
        reason=cancellation.reason,
        paid=cancellation.paid,
        refunded=cancellation.refunded,
        currency=cancellation.currency,
    )


@router.get("/api/admin/test-clock")
async def read_test_clock(_: Admin, clock: TestClock) -> Time:
    """The time of the test clock; only where there is one."""
    return Time(now=await clock.now())


@router.post("/api/admin/test-clock/advance")
async def advance_test_clock(_: Admin, clock: TestClock, body: Advance) -> Time:
    """Moves the clock by which installments fall due. 404 unless the settings enable it."""
    return Time(now=await clock.advance(timedelta(seconds=body.seconds)))


async def _payable(uow: UnitOfWork, id: UUID) -> tuple[PurchaseRow, Installment]:
    found = await repository.lock(uow.db, id)
    if found is None:
        raise unknown_installment()
    if not found[1].is_payable:
        raise not_due(found[1].status)
    if await repository.awaits_sponsor(uow.db, found[1]):
        raise SPONSOR_HAS_NOT_PAID()
    return found


def _require_due_date(installment: Installment) -> None:
    if installment.is_remainder:
        raise INSTALLMENT_CLOSED("The remaining balance has no due date.")


async def _end_overdue(context: CheckoutContext, buyer: Buyer, id: UUID) -> None:
    """Ends the intent or invoice of the round that is over. Raises Problem 409 if it has been paid."""
    async with context.unit_of_work(buyer) as uow:
        _, installment = await _payable(uow, id)
    if installment.status != "overdue" or not installment.is_requested:
        return
    requests = PaymentRequests(context.stripe, lambda: context.unit_of_work(buyer))
    try:
        with stripe_errors_as_problems():
            ended = await requests.end(installment)
    except StripeRejected:
        raise rejected_by_stripe() from None
    if not ended:
        raise not_due("processing")


async def _recorded(uow: UnitOfWork, action: Action, before: Installment, after: Installment) -> AdminInstallment:
    """For the audit trail, too."""
    changed = _view(after)
    act = Act.of(
        action,
        "installment",
        after.id,
        purchase_id=after.purchase_id,
        student_id=after.student_id,
        references=(after.stripe_invoice_id, after.stripe_payment_intent_id),
        before=_view(before),
        after=changed,
    )
    await audit.record(uow, act)
    return changed


def _view(installment: Installment) -> AdminInstallment:
    return AdminInstallment.model_validate(installment, from_attributes=True)


def _sums(rows: Sequence[Row[Any]], currency: str) -> CurrencyStatistics:
    def total(*statuses: InstallmentStatus) -> Sum:
        found = [row for row in rows if row.currency == currency and row.status in statuses]
        return Sum(count=sum(row.count for row in found), amount=int(sum(row.amount for row in found)))

    return CurrencyStatistics(
        currency=currency,
        due=total("open", "paused"),
        overdue=total("overdue"),
        processing=total("processing"),
        paid=total("paid"),
        waived=total("waived"),
        canceled=total("canceled"),
    )
