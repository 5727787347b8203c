"""The routes of students and case managers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, cast
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Select, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.audit import Act, Action
from contracts.milady_integration import CourseLink
from contracts.people import enrollment_uuid, student_uuid
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.http import audit
from kit.http.auth import CaseManager, CurrentCaller
from kit.http.dependencies import CallerUnitOfWork, CurrentDatabase
from kit.http.idempotency import IDEMPOTENT, once
from kit.http.openapi import example
from kit.http.paging import Cursor, Page, page_of
from ledger.standing import Standing
from ledger.verdict import SUPERSEDED
from milady_integration import domain, repository
from milady_integration.domain import EnrollmentRecord, Mode, Status
from milady_integration.problems import NOT_PAID, PROGRAM_INACTIVE, UNKNOWN_ENROLLMENT, UNKNOWN_PROGRAM
from milady_integration.reconciler import apply_change, reconcile
from milady_integration.tables import enrollments, milady_programs, provider_enrollments
from milady_integration.topology import SERVICE

router = APIRouter(tags=["milady"])

Limit = Annotated[int, Query(ge=1, le=200)]


def current_mode(request: Request) -> Mode:
    return cast(Mode, request.app.state.settings.milady_mode)


CurrentMode = Annotated[Mode, Depends(current_mode)]


class StudentEnrollment(BaseModel):
    """A student's enrollment at Milady, with the links to the courses once the student is enrolled."""

    student_id: UUID
    program_slug: str
    program_id: str
    program_name: str | None
    status: Status
    milady_enrollment_id: str | None
    links: list[CourseLink]
    created_at: datetime
    updated_at: datetime


class AutoEnroll(
    BaseModel,
    json_schema_extra=example(studentId="0b2f6c1e-6f0e-4d0a-8d52-9c7f3a1e2b44", programId="barber-apprenticeship"),
):
    model_config = ConfigDict(str_strip_whitespace=True)

    studentId: str = Field(min_length=1, max_length=200)
    programId: str = Field(min_length=1, max_length=200, description="the catalog's id, or the slug")


class AutoEnrolled(BaseModel):
    ok: bool = True
    studentId: UUID
    programSlug: str
    status: Status
    miladyEnrollmentId: str | None
    links: list[CourseLink]


@router.get("/api/milady/mine")
async def list_own_milady_enrollments(
    caller: CurrentCaller, uow: CallerUnitOfWork, cursor: Cursor = None, limit: Limit = 50
) -> Page[StudentEnrollment]:
    """The caller's own enrollments at Milady, newest first.

    Superseded ones are left out: they are for a program or a student that a later event corrected.
    """
    selected = with_program().where(
        provider_enrollments.c.student_id == caller.id, enrollments.c.reason.is_distinct_from(SUPERSEDED)
    )
    return await page_of(uow.db, selected, provider_enrollments, StudentEnrollment, cursor=cursor, limit=limit)


@router.post("/api/milady/auto-enroll", response_model=AutoEnrolled, dependencies=IDEMPOTENT)
async def enroll_at_milady(
    request: Request, caller: CaseManager, database: CurrentDatabase, mode: CurrentMode, body: AutoEnroll
) -> JSONResponse:
    """Enrolls a student who has paid at Milady. Safe to repeat.

    Starts what no payment has started yet, and retries what has failed.
    """
    student_id = student_uuid(body.studentId)

    async def act() -> AutoEnrolled:
        # not the request's unit of work: this has to commit before `once` stores the response
        async with database.transaction_of(student_id=caller.id, role=caller.role) as db:
            uow = UnitOfWork(db=db, source=SERVICE, now=utc_now())
            return await _enroll(uow, student_id, await _slug(db, student_id, body.programId), mode)

    return await once(request, database, caller=str(caller.id), act=act)


async def _enroll(uow: UnitOfWork, student_id: UUID, slug: str, mode: Mode) -> AutoEnrolled:
    await repository.lock_enrollment(uow.db, student_id, slug)
    enrollment = await repository.read_enrollment(uow.db, enrollment_uuid(student_id, slug))
    if enrollment is None:
        raise UNKNOWN_ENROLLMENT("This student has not bought this program. Check both ids.")
    if enrollment.standing is not Standing.ACTIVE:
        raise NOT_PAID(standing=enrollment.standing.value)
    existing = await repository.read_provider_enrollment(uow.db, enrollment_uuid(student_id, slug))
    if (current := await reconcile(uow, enrollment, mode)) is None:
        raise PROGRAM_INACTIVE()
    if current.status is Status.FAILED:
        current = await apply_change(uow, enrollment, current, domain.retry(existing=current, mode=mode))
    before = existing.status if existing else None
    await audit.record(uow, act_on("provider_enrollment.requested", enrollment, before, current.status))
    return AutoEnrolled(
        studentId=student_id,
        programSlug=slug,
        status=current.status,
        miladyEnrollmentId=current.milady_enrollment_id,
        links=list(current.links),
    )


def act_on(action: Action, enrollment: EnrollmentRecord, before: Status | None, after: Status) -> Act:
    """For the audit trail."""
    return Act.of(
        action,
        "provider_enrollment",
        enrollment.id,
        purchase_id=enrollment.purchase_id,
        student_id=enrollment.student_id,
        before=None if before is None else {"status": before.value},
        after={"status": after.value},
    )


async def _slug(db: AsyncConnection, student_id: UUID, program: str) -> str:
    """The slug of one of Milady's programs, by its slug or its catalog id. A 404 if it is not Milady's."""
    by_program = select(milady_programs.c.program_slug).where(
        or_(milady_programs.c.program_slug == program, milady_programs.c.program_id == program)
    )
    by_enrollment = (
        select(milady_programs.c.program_slug)
        .join(enrollments, enrollments.c.program_slug == milady_programs.c.program_slug)
        .where(enrollments.c.student_id == student_id, enrollments.c.program_id == program)
    )
    for selected in (by_program, by_enrollment):
        slug: str | None = await db.scalar(selected.order_by(milady_programs.c.program_slug).limit(1))
        if slug is not None:
            return slug
    raise UNKNOWN_PROGRAM()


def with_program() -> Select[Any]:  # Any: the columns are those of the response models
    """Provider enrollments, with the id and name of their programs."""
    return select(provider_enrollments, enrollments.c.program_id, enrollments.c.program_name).join(
        enrollments, enrollments.c.id == provider_enrollments.c.id
    )
