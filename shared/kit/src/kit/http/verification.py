"""/api/admin/verification: whether the rows of a service are those that its facts say, and their repair."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body
from pydantic import BaseModel, Field
from sqlalchemy import select

from contracts.audit import Act, Actor
from kit.db.unit_of_work import UnitOfWork
from kit.http.audit import record
from kit.http.auth import Admin, Caller
from kit.http.dependencies import CallerUnitOfWork
from kit.http.openapi import example
from kit.http.problems import NOT_VERIFIED, UNKNOWN_VERIFICATION
from kit.messaging import verification_runs
from kit.messaging.verification import Outcome
from kit.messaging.verification_runs import verifications

router = APIRouter(tags=["verification"])


class DifferenceView(BaseModel):
    """A stored value that is not the expected one."""

    table: str
    row: str = Field(description="its id")
    column: str | None = Field(description="null: the whole row is missing, or is too much")
    stored: Any
    expected: Any
    reason: str | None = Field(description="why it cannot be repaired, or how")
    outcome: Outcome


class VerificationView(BaseModel):
    id: UUID
    requested_at: datetime
    finished_at: datetime | None = Field(description="null while it is waiting or running")
    repair: bool
    holds: bool | None = Field(description="whether nothing differs, or all of it was repaired; null while it runs")
    counts: dict[str, int] = Field(description="how many differences there are of each outcome")
    differences: list[DifferenceView] = Field(description="the first 1,000")
    error: str | None = Field(description="why it was not finished")


class RepairBody(BaseModel, json_schema_extra=example(again=True)):
    again: bool = Field(default=False, description="also what was repaired before and is broken again")


@router.get("/api/admin/verification")
async def read_last_verification(_: Admin, uow: CallerUnitOfWork) -> VerificationView:
    """The last one that is finished."""
    last = verifications.c.finished_at.is_not(None)
    statement = select(verifications).where(last).order_by(verifications.c.finished_at.desc()).limit(1)
    row = (await uow.db.execute(statement)).one_or_none()
    if row is None:
        raise NOT_VERIFIED()
    return _view(row)


@router.get("/api/admin/verification/{verification_id}")
async def read_verification(_: Admin, uow: CallerUnitOfWork, verification_id: UUID) -> VerificationView:
    """A requested verification: whether it has ended, and what it found."""
    statement = select(verifications).where(verifications.c.id == verification_id)
    row = (await uow.db.execute(statement)).one_or_none()
    if row is None:
        raise UNKNOWN_VERIFICATION()
    return _view(row)


@router.post("/api/admin/verification", status_code=202)
async def request_verification(caller: Admin, uow: CallerUnitOfWork) -> VerificationView:
    """Compares all rows with the facts. The service's relay does it; read the result by its id."""
    return await _request(uow, caller)


@router.post("/api/admin/verification/repair", status_code=202)
async def request_repair(
    caller: Admin, uow: CallerUnitOfWork, body: Annotated[RepairBody | None, Body()] = None
) -> VerificationView:
    """The same, and brings rows in line with the facts, where these allow it. Each cause is repaired once."""
    return await _request(uow, caller, repair=True, again=body.again if body else False)


async def _request(uow: UnitOfWork, caller: Caller, *, repair: bool = False, again: bool = False) -> VerificationView:
    actor = Actor(id=str(caller.id), role=caller.role)
    id = await verification_runs.request(uow.db, actor=actor, repair=repair, again=again)
    after = {"repair": repair, "again": again}
    await record(uow, Act.of("verification.requested", "verification", id, after=after))
    return _view((await uow.db.execute(select(verifications).where(verifications.c.id == id))).one())


# Any: SQLAlchemy has no type for the rows of a whole table
def _view(row: Any) -> VerificationView:
    report = row.report or {}
    return VerificationView(
        id=row.id,
        requested_at=row.requested_at,
        finished_at=row.finished_at,
        repair=row.repair,
        holds=report.get("holds"),
        counts=report.get("counts", {}),
        differences=[DifferenceView.model_validate(each) for each in report.get("differences", ())],
        error=report.get("error"),
    )
