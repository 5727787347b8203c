"""What admins do about amounts due and enrollments, and the test clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, cast
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime, BaseModel, Field, StrictInt
from sqlalchemy import Row, func, select

from checkout.cancellation_policy import cancellation_policy
from checkout.installments import repository, transitions
from checkout.installments.cancellation import Canceled, Canceling
from checkout.installments.clock import Clock
from checkout.installments.domain import PAYABLE, Status
from checkout.installments.manual_payments import Method, Recorded, Recording
from checkout.installments.payment import not_due, unknown_schedule
from checkout.installments.payment_requests import Means, handed_out
from checkout.installments.tables import schedules
from checkout.installments.views import ScheduleView
from checkout.purchases.context import Buyer, in_our_words, refused_by_stripe
from checkout.purchases.dependencies import buyer_of, database_of, desk_of, purchasing_of, settings_of
from checkout.purchases.tables import purchases
from checkout.stripe_client import StripeRefuses
from kit.db.unit_of_work import UnitOfWork
from kit.http.auth import Admin, Caller
from kit.http.errors import Problem
from kit.http.paging import Cursor, Page, page_of

router = APIRouter(tags=["admin"])

_SCHEDULES = "/api/admin/payments/schedules"
_FAR = timedelta(days=3 * 366)


class AdminSchedule(ScheduleView):
    purchase_id: UUID
    student_id: UUID
    created_at: datetime


class NewDueDate(BaseModel):
    due_at: AwareDatetime


class ManualPayment(BaseModel):
    """`transaction_reference`: a receipt's, a check's or a transfer's number; the decision, for a waiver."""

    payment_method: Method
    transaction_reference: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*\S[^\x00]*$")]
    notes: Annotated[str | None, Field(max_length=2000)] = None


class ManualAnswer(BaseModel):
    """`amount` is minor units."""

    payment_id: UUID
    schedule_id: UUID
    payment_method: str
    transaction_reference: str
    amount: int
    currency: str
    recorded_at: datetime


class Cancellation(BaseModel):
    """`refund_amount`: minor units of what goes back; without it, the school's policy says."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    refund_amount: Annotated[StrictInt | None, Field(ge=0)] = None


class CancellationAnswer(BaseModel):
    """Minor units."""

    enrollment_id: UUID
    purchase_id: UUID
    status: Literal["canceled"] = "canceled"
    reason: str
    paid: int
    refunded: int
    currency: str


class Sum(BaseModel):
    count: int
    amount: int


class CurrencyStatistics(BaseModel):
    """Minor units. `due`: not paid yet, and not overdue; `overdue` after its last attempt."""

    currency: str
    due: Sum
    overdue: Sum
    processing: Sum
    paid: Sum
    waived: Sum
    canceled: Sum


class Statistics(BaseModel):
    items: list[CurrencyStatistics]


class Advance(BaseModel):
    seconds: Annotated[StrictInt, Field(ge=1, le=10 * 366 * 86_400)]


class Time(BaseModel):
    now: datetime


@router.get(_SCHEDULES)
async def list_schedules(
    request: Request,
    caller: Admin,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    status: Status | None = None,
    due_from: AwareDatetime | None = None,
    due_to: Annotated[AwareDatetime | None, Query(description="before that moment")] = None,
    student_id: UUID | None = None,
) -> Page[AdminSchedule]:
    """Every amount due, newest first."""
    wanted = select(schedules)
    if status is not None:
        wanted = wanted.where(schedules.c.status == status)
    if due_from is not None:
        wanted = wanted.where(schedules.c.due_at >= due_from)
    if due_to is not None:
        wanted = wanted.where(schedules.c.due_at < due_to)
    if student_id is not None:
        wanted = wanted.where(schedules.c.student_id == student_id)
    async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as db:
        return await page_of(db, wanted, schedules, AdminSchedule, cursor=cursor, limit=limit)


@router.get(f"{_SCHEDULES}/statistics")
async def statistics(request: Request, caller: Admin) -> Statistics:
    """How much is due, overdue and paid, in each currency."""
    # the rest at once is what the other amounts are one by one: they count until it is paid, and then it does. That of
    # a page stands for nothing else.
    of_page = schedules.c.purchase_id.in_(select(purchases.c.id).where(purchases.c.how == "page"))
    alone = (schedules.c.kind != "remainder") | of_page | schedules.c.status.in_(("paid", "waived"))
    counted = alone & (func.coalesce(schedules.c.closed_because, "") != "covered")
    wanted = select(
        schedules.c.currency,
        schedules.c.status,
        func.count().label("count"),
        func.sum(schedules.c.amount).label("amount"),
    ).where(counted)
    async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as db:
        rows = (await db.execute(wanted.group_by(schedules.c.currency, schedules.c.status))).all()
    return Statistics(items=[_sums(rows, currency) for currency in sorted({row.currency for row in rows})])


@router.patch(f"{_SCHEDULES}/{{id}}")
async def change_due_date(request: Request, id: UUID, wanted: NewDueDate, caller: Admin) -> AdminSchedule:
    """Another due date. An overdue amount begins anew: its enrollment is not paused for it any more."""
    await _end_overdue(request, caller, id)
    async with _work(request, caller) as (uow, clock):
        purchase, row = await _payable(uow, id)
        now = await clock.now_in(uow.db)
        if not now <= wanted.due_at <= now + _FAR:
            raise Problem(422, "due_date_out_of_range", "Give a day from now on, within three years.")
        due_at = wanted.due_at.astimezone(UTC)
        _has_a_date(row)
        if row.status == "overdue" and handed_out(row):
            raise Problem(409, "schedule_busy", "Somebody is about to pay this amount; try again.")
        if row.status == "overdue":
            await transitions.say_nothing_owed(uow, purchase, row)
            await transitions.reopen(uow, purchase, row, now=now, due_at=due_at)
            return await _shown(uow, id)
        # a charge that the day before has set off already, and that has not been tried yet, is not wanted any more
        values: dict[str, Any] = {"due_at": due_at, "timers": row.timers + 1}
        if row.status == "open" and row.position == 1 and row.next_attempt_at is None and row.timers == 0:
            values["timers"] = 0  # it waits for its payer still, and its enrollment with it
            open_for = timedelta(days=settings_of(request).enrollment_open_days)
            await repository.keep_open(uow.db, purchase.id, until=due_at + open_for)
        elif row.status == "open":
            values["next_attempt_at"] = due_at
        await repository.write(uow.db, id, at=uow.now, **values)
        return await _shown(uow, id)


@router.post(f"{_SCHEDULES}/{{id}}/pause")
async def pause(request: Request, id: UUID, caller: Admin) -> AdminSchedule:
    """Nothing is tried by itself while it lasts; it can be paid nevertheless. The same again changes nothing."""
    async with _work(request, caller) as (uow, _):
        _, row = await _payable(uow, id)
        _has_a_date(row)
        if row.status == "overdue":
            raise Problem(409, "schedule_overdue", "Its attempts are over already; give it another due date instead.")
        await repository.write(uow.db, id, at=uow.now, status="paused", next_attempt_at=None)
        return await _shown(uow, id)


@router.post(f"{_SCHEDULES}/{{id}}/resume")
async def resume(request: Request, id: UUID, caller: Admin) -> AdminSchedule:
    """It is collected again, on its day, or now when that has passed."""
    async with _work(request, caller) as (uow, clock):
        _, row = await _payable(uow, id)
        _has_a_date(row)
        if row.status == "paused":
            at = max(row.due_at, await clock.now_in(uow.db))
            await repository.write(uow.db, id, at=uow.now, status="open", next_attempt_at=at)
        return await _shown(uow, id)


@router.post(f"{_SCHEDULES}/{{id}}/record-payment")
async def record_payment(request: Request, id: UUID, wanted: ManualPayment, caller: Admin) -> ManualAnswer:
    """Cash, a check, a transfer or a waiver pays all of the amount. The same reference twice is one payment."""
    recording = Recording(desk_of(request), _clock(request), _on_behalf(caller))
    made: Recorded = await recording.record(
        id, wanted.payment_method, wanted.transaction_reference.strip(), wanted.notes
    )
    return ManualAnswer(
        payment_id=made.id,
        schedule_id=made.schedule_id,
        payment_method=made.method,
        transaction_reference=made.transaction_reference,
        amount=made.amount.amount,
        currency=made.amount.currency,
        recorded_at=made.recorded_at,
    )


@router.post("/api/admin/enrollments/{id}/cancel")
async def cancel_enrollment(request: Request, id: UUID, wanted: Cancellation, caller: Admin) -> CancellationAnswer:
    """Ends it: what is open is closed, the enrollment is withdrawn, and money goes back.

    `id`: the enrollment's or the purchase's.
    """
    canceling = Canceling(
        desk_of(request),
        purchasing_of(request),
        _clock(request),
        cancellation_policy(settings_of(request).cancel_refund),
        _on_behalf(caller),
    )
    done: Canceled = await canceling.cancel(id, wanted.reason, wanted.refund_amount)
    return CancellationAnswer(
        enrollment_id=done.enrollment_id,
        purchase_id=done.purchase_id,
        reason=done.reason,
        paid=done.paid.amount,
        refunded=done.refunded.amount,
        currency=done.paid.currency,
    )


@router.get("/api/admin/test-clock")
async def test_clock(request: Request, _: Admin) -> Time:
    return Time(now=await _enabled(request).now())


@router.post("/api/admin/test-clock/advance")
async def advance_test_clock(request: Request, wanted: Advance, _: Admin) -> Time:
    """Moves the clock by which amounts fall due. 404 where there is none."""
    return Time(now=await _enabled(request).advance(timedelta(seconds=wanted.seconds)))


class _Open:
    def __init__(self, request: Request, caller: Caller) -> None:
        self._clock = _clock(request)
        self._work = desk_of(request).uow(_on_behalf(caller))

    async def __aenter__(self) -> tuple[UnitOfWork, Clock]:
        return await self._work.__aenter__(), self._clock

    async def __aexit__(self, *error: Any) -> None:
        await self._work.__aexit__(*error)


def _work(request: Request, caller: Caller) -> _Open:
    return _Open(request, caller)


async def _payable(uow: UnitOfWork, id: UUID) -> tuple[Row[Any], Row[Any]]:
    found = await repository.lock(uow.db, id)
    if found is None:
        raise unknown_schedule()
    if found[1].status not in PAYABLE:
        raise not_due(found[1].status)
    return found


def _has_a_date(row: Row[Any]) -> None:
    if row.kind == "remainder":
        raise Problem(409, "schedule_closed", "All that is left is paid when somebody asks for it; it has no date.")


async def _end_overdue(request: Request, caller: Caller, id: UUID) -> None:
    """What was handed out for the round that ends can be paid no more. Raises Problem 409 when it has been."""
    async with _work(request, caller) as (uow, _):
        _, row = await _payable(uow, id)
    if row.status != "overdue" or not handed_out(row):
        return
    means = Means(desk_of(request).stripe, lambda: desk_of(request).uow(_on_behalf(caller)))
    try:
        with in_our_words():
            ended = await means.end(row)
    except StripeRefuses:
        raise refused_by_stripe() from None
    if not ended:
        raise not_due("processing")


def _on_behalf(caller: Caller) -> Buyer:
    """An admin's own address is no student's."""
    return buyer_of(Caller(id=caller.id, role=caller.role))


async def _shown(uow: UnitOfWork, id: UUID) -> AdminSchedule:
    row = await repository.read(uow.db, id)
    assert row is not None  # noqa: S101  never deleted
    return AdminSchedule.model_validate(dict(row._mapping))


def _sums(rows: Any, currency: str) -> CurrencyStatistics:
    def total(*statuses: Status) -> Sum:
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


def _clock(request: Request) -> Clock:
    return cast(Clock, request.app.state.clock)


def _enabled(request: Request) -> Clock:
    clock = _clock(request)
    if not clock.enabled:
        raise Problem(404, "not_found", "There is no test clock here.")
    return clock
