"""What milady-integration answers to students and case managers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Select, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.milady_integration import CourseLink
from contracts.people import student_uuid
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.http.auth import CaseManager, CurrentCaller
from kit.http.errors import Problem
from kit.http.idempotency import HONOURS_KEY, once
from kit.http.paging import Cursor, Page, page_of
from ledger.purchase import Standing
from milady_integration import db, domain
from milady_integration.domain import Mode, Status
from milady_integration.following import carry_out, follow
from milady_integration.tables import enrollments
from milady_integration.tables import milady_enrollments as places
from milady_integration.tables import milady_programs as programs
from milady_integration.topology import SERVICE

router = APIRouter(tags=["milady"])

Limit = Annotated[int, Query(ge=1, le=200)]


class MyPlace(BaseModel):
    """A student's place at Milady, with the links to the courses once they are enrolled."""

    student_id: UUID
    program_slug: str
    program_id: str
    program_name: str | None
    status: Status
    milady_enrollment_id: str | None
    links: list[CourseLink]
    created_at: datetime
    updated_at: datetime


class AutoEnroll(BaseModel):
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
async def my_places(request: Request, caller: CurrentCaller, cursor: Cursor = None, limit: Limit = 50) -> Page[MyPlace]:
    """The caller's own places at Milady, newest first."""
    wanted = with_program().where(places.c.student_id == caller.id)
    async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as connection:
        return await page_of(connection, wanted, places, MyPlace, cursor=cursor, limit=limit)


@router.post("/api/milady/auto-enroll", response_model=AutoEnrolled, dependencies=HONOURS_KEY)
async def auto_enroll(request: Request, caller: CaseManager, asked: AutoEnroll) -> JSONResponse:
    """Sees to it that a student who has paid is enrolled at Milady; as often as one likes.

    What a payment has not set going yet is set going, and what had failed is tried again.
    """
    student_id = student_uuid(asked.studentId)

    async def act() -> AutoEnrolled:
        async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as connection:
            slug = await _slug(connection, student_id, asked.programId)
            uow = UnitOfWork(db=connection, source=SERVICE, now=utc_now())
            enrollment_id = domain.enrollment_id(student_id, slug)
            await db.lock_enrollment(connection, enrollment_id)
            if (enrollment := await db.read_enrollment(connection, enrollment_id)) is None:
                raise Problem(404, "unknown_enrollment", "This student has not bought this program; check both ids.")
            if enrollment.wanted.standing is not Standing.ACTIVE:
                raise Problem(
                    409,
                    "not_paid",
                    "The enrollment is not paid for (any more). It is enrolled by itself as soon as it is.",
                    standing=enrollment.wanted.standing.value,
                )
            mode = mode_of(request)
            if (place := await follow(uow, enrollment, mode)) is None:
                raise Problem(409, "program_inactive", "Enrollment at Milady is switched off for this program.")
            if place.status is Status.FAILED and (known := await db.read_place(connection, enrollment_id)):
                place = await carry_out(uow, enrollment, known, domain.retry(place=place, mode=mode))
            return AutoEnrolled(
                studentId=student_id,
                programSlug=slug,
                status=place.status,
                miladyEnrollmentId=place.milady_enrollment_id,
                links=list(place.links),
            )

    return await once(request, database_of(request), caller=str(caller.id), act=act)


async def _slug(connection: AsyncConnection, student_id: UUID, program: str) -> str:
    """The slug of one of Milady's programs, by slug or catalog id. A 404 when it is none of theirs."""
    named = select(programs.c.program_slug).where(
        or_(programs.c.program_slug == program, programs.c.program_id == program)
    )
    bought = (
        select(programs.c.program_slug)
        .join(enrollments, enrollments.c.program_slug == programs.c.program_slug)
        .where(enrollments.c.student_id == student_id, enrollments.c.program_id == program)
    )
    for wanted in (named, bought):
        slug: str | None = (await connection.execute(wanted.order_by(programs.c.program_slug))).scalars().first()
        if slug is not None:
            return slug
    raise Problem(404, "unknown_program", "This is none of Milady's programs; see GET /api/admin/milady/programs.")


def with_program() -> Select[Any]:
    return select(places, enrollments.c.program_id, enrollments.c.program_name).join(
        enrollments, enrollments.c.id == places.c.id
    )


def database_of(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


def mode_of(request: Request) -> Mode:
    mode: Mode = request.app.state.settings.milady_mode
    return mode
