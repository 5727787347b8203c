"""The HTTP API of the invariant, for admins. Reading it verifies nobody but a single student."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement, func, select

from kit.http.auth import Admin, Caller, requires
from kit.http.dependencies import CallerUnitOfWork
from kit.http.paging import Cursor, page_of
from reporting import invariant_runs, verification
from reporting.invariant import Part
from reporting.problems import NOT_VERIFIED, UNKNOWN_RUN
from reporting.settings import ApiSettings
from reporting.tables import invariant_breaks
from reporting.tables import invariant_runs as runs
from reporting.verification import Rules

router = APIRouter(tags=["invariant"])
_REPAIRED = invariant_breaks.c.ended_at.is_not(None) & invariant_breaks.c.requested_at.is_not(None)


class InvariantBreak(BaseModel):
    """A part that does not hold although its deadline has passed."""

    model_config = ConfigDict(from_attributes=True)

    student_id: UUID | None = Field(description="null: Stripe has money that belongs to nobody")
    purchase_id: UUID | None
    program_slug: str | None
    part: Part
    cause: str
    since: datetime = Field(description="when the latest payment event about it was received")
    requested_at: datetime | None = Field(
        default=None, description="when the events were asked for from which it follows; null: nobody has asked"
    )
    ended_at: datetime | None = Field(default=None, description="when it was no longer found")


class Invariant(BaseModel):
    """A page of the breaks that the last run has found, newest first."""

    holds: bool
    students: int = Field(description="how many were read")
    breaks: int = Field(description="how many there are in all")
    repaired: int = Field(description="how many have ended after their events were asked for, in the last 90 days")
    finished_at: datetime = Field(description="when they were read")
    items: list[InvariantBreak]
    next: str | None = None


class InvariantRun(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    requested_at: datetime
    finished_at: datetime | None = Field(description="null while it waits or runs")
    students: int | None = Field(description="how many were read")
    breaks: int | None
    error: str | None = Field(description="why it was not finished")


@router.get("/api/admin/invariant")
async def read_invariant(
    request: Request,
    _: Annotated[Caller, Depends(requires("admin", scope="invariant:read"))],
    uow: CallerUnitOfWork,
    student_id: Annotated[UUID | None, Query(description="of this student, now")] = None,
    part: Annotated[Part | None, Query()] = None,
    repaired: Annotated[
        bool, Query(description="those that have ended after their events were asked for, instead")
    ] = False,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Invariant:
    """What is paid but not enrolled, taught, with the provider, notified, booked or agreed by Stripe, and the reverse:
    over all students by the last run in the background, or of one student now."""
    if student_id is not None:
        settings: ApiSettings = request.app.state.settings
        rules = Rules(now=uow.now, deadlines=settings.deadlines, policy=settings.policy)
        report = await verification.verify_student(uow.db, student_id, rules)
        found = [InvariantBreak.model_validate(each) for each in report.breaks if part in (None, each.part)]
        own = _REPAIRED & (invariant_breaks.c.student_id == student_id)
        return Invariant(
            holds=report.holds,
            students=1,
            breaks=len(found),
            repaired=await _count(uow, own),
            finished_at=uow.now,
            items=found,
        )
    last = select(runs).where(runs.c.finished_at.is_not(None), runs.c.error.is_(None))
    run = (await uow.db.execute(last.order_by(runs.c.finished_at.desc()).limit(1))).one_or_none()
    if run is None:
        raise NOT_VERIFIED()
    broken = select(invariant_breaks).where(_REPAIRED if repaired else invariant_breaks.c.ended_at.is_(None))
    if part is not None:
        broken = broken.where(invariant_breaks.c.part == part)
    page = await page_of(uow.db, broken, invariant_breaks, InvariantBreak, cursor=cursor, limit=limit)
    return Invariant(
        holds=not run.breaks,
        students=run.students,
        breaks=run.breaks,
        repaired=await _count(uow, _REPAIRED),
        finished_at=run.finished_at,
        items=page.items,
        next=page.next,
    )


async def _count(uow: CallerUnitOfWork, selected: ColumnElement[bool]) -> int:
    return await uow.db.scalar(select(func.count()).select_from(invariant_breaks).where(selected)) or 0


@router.post("/api/admin/invariant/runs", status_code=202)
async def request_invariant_run(_: Admin, uow: CallerUnitOfWork) -> InvariantRun:
    """Verifies all students in the background. Read the run by its id until it is finished."""
    return await _run(uow, await invariant_runs.request(uow.db))


@router.get("/api/admin/invariant/runs/{run_id}")
async def read_invariant_run(_: Admin, uow: CallerUnitOfWork, run_id: UUID) -> InvariantRun:
    """A requested run: whether it has ended, and what it found."""
    return await _run(uow, run_id)


async def _run(uow: CallerUnitOfWork, id: UUID) -> InvariantRun:
    row = (await uow.db.execute(select(runs).where(runs.c.id == id))).one_or_none()
    if row is None:
        raise UNKNOWN_RUN()
    return InvariantRun.model_validate(row)
