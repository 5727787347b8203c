"""What milady-integration answers to admins: what needs a human, and the programs that are Milady's."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import and_, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from starlette.responses import Response

from contracts.milady_integration import CourseLink
from contracts.people import student_uuid
from kit.db.database import row_dict
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.http.auth import Admin, Caller, CaseManager
from kit.http.errors import Problem
from kit.http.paging import Cursor, Page, page_of
from kit.jobs.jobs import jobs
from milady_integration import db, domain
from milady_integration.api import Limit, MyPlace, database_of, mode_of, with_program
from milady_integration.bulk_import import Line, to_csv
from milady_integration.domain import Change, NotNow, Place, Status, Step, Wish
from milady_integration.following import carry_out
from milady_integration.tables import enrollments
from milady_integration.tables import milady_enrollments as places
from milady_integration.tables import milady_programs as programs
from milady_integration.topology import SERVICE

router = APIRouter(prefix="/api/admin/milady", tags=["milady admin"])

EXPORT_LIMIT = 10_000
_WHY_NOT = {
    "already_enrolled": "The student is enrolled under another id.",
    "step_in_progress": "We are asking Milady about this one right now; look again when that has ended.",
    "not_withdrawn": "The enrollment is paid for, so it must not be withdrawn; a refund withdraws it.",
    "nothing_to_retry": "Nothing has failed here.",
}


class AnyPlace(MyPlace):
    """Everybody's, with what an operator needs: what is wished, what is under way, what went wrong."""

    id: UUID
    wish: Wish
    reason: str | None
    purchase_id: UUID | None
    step: Step | None = Field(description="what is under way at Milady")
    failed_step: Step | None
    failure: str | None = Field(description="Milady's refusal, or `unavailable`")
    attempts: int | None = Field(description="at the step that is under way")
    last_error: str | None


class ConfirmedLink(BaseModel):
    title: str = Field(min_length=1, max_length=300)
    url: str = Field(max_length=2000, pattern=r"^https?://[^\s<>\"]+$")


class Confirmation(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True)

    studentId: str = Field(min_length=1, max_length=200)
    programSlug: str = Field(min_length=1, max_length=200)
    miladyEnrollmentId: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][^\x00-\x1f\x7f]{0,199}$")
    links: list[ConfirmedLink] = Field(default_factory=list, max_length=100)
    withdrawn: bool = Field(default=False, description="confirms the opposite: the student was withdrawn by hand")


class Retry(BaseModel):
    """What is left out narrows nothing: an empty object retries all that has failed."""

    model_config = ConfigDict(extra="forbid")

    studentId: str | None = Field(default=None, min_length=1, max_length=200)
    programSlug: str | None = Field(default=None, min_length=1, max_length=200)


class Retried(BaseModel):
    retried: int


class Course(BaseModel):
    id: str = Field(min_length=1, max_length=200)
    title: str = Field(min_length=1, max_length=300)


class ProgramChange(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    title: str = Field(min_length=1, max_length=300)
    courses: list[Course] = Field(default_factory=list, max_length=50)
    program_id: str | None = Field(default=None, max_length=200)
    is_active: bool = True


class ProgramRow(BaseModel):
    program_slug: str
    program_id: str | None
    title: str
    courses: list[Course]
    is_active: bool
    created_at: datetime
    updated_at: datetime


@router.get("/enrollments")
async def list_places(
    request: Request,
    caller: CaseManager,
    status: Annotated[Status | None, Query()] = None,
    program_slug: Annotated[str | None, Query(max_length=200)] = None,
    student_id: Annotated[UUID | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[AnyPlace]:
    """Everybody's places, newest first; `status=failed` is what waits for a human."""
    wanted = (
        with_program()
        .add_columns(jobs.c.attempts, jobs.c.last_error)
        .outerjoin(
            jobs,
            and_(
                jobs.c.kind == func.concat("milady.", places.c.step),
                jobs.c.key == func.concat(places.c.id, "/", places.c.generation),
            ),
        )
    )
    filters = {"status": status.value if status else None, "program_slug": program_slug, "student_id": student_id}
    for column, value in filters.items():
        if value is not None:
            wanted = wanted.where(places.c[column] == value)
    async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as connection:
        return await page_of(connection, wanted, places, AnyPlace, cursor=cursor, limit=limit)


@router.get("/export.csv")
async def export(request: Request, caller: Admin, action: Literal["enroll", "withdraw"] = "enroll") -> Response:
    """Those whom an admin has to enroll (or withdraw) by hand, as a CSV for the provider's bulk import."""
    due = places.c.status == Status.MANUAL.value
    if action == "withdraw":
        by_hand = places.c.status.in_((Status.ENROLLED.value, Status.FAILED.value))
        due = and_(places.c.wish == Wish.WITHDRAWN.value, places.c.step.is_(None), by_hand)
    wanted = (
        select(places, enrollments.c.contact_name, enrollments.c.contact_email, programs.c.title, programs.c.courses)
        .join(enrollments, enrollments.c.id == places.c.id)
        .outerjoin(programs, programs.c.program_slug == places.c.program_slug)
        .where(due)
        .order_by(places.c.created_at, places.c.id)
        .limit(EXPORT_LIMIT)
    )
    async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as connection:
        rows = (await connection.execute(wanted)).all()
    lines = [
        Line(
            student_ref=str(row.student_id),
            name=row.contact_name or "",
            email=row.contact_email or "",
            program_slug=row.program_slug,
            program=row.title or row.program_slug,
            course_ids=" ".join(course["id"] for course in row.courses or ()),
            milady_enrollment_id=row.milady_enrollment_id or "",
            since=row.updated_at.isoformat(),
        )
        for row in rows
    ]
    headers = {"Content-Disposition": f'attachment; filename="milady-{action}.csv"', "Cache-Control": "no-store"}
    return Response(to_csv(lines), media_type="text/csv; charset=utf-8", headers=headers)


@router.post("/confirm")
async def confirm(request: Request, caller: Admin, told: Confirmation) -> AnyPlace:
    """An admin has enrolled (or withdrawn) a student at the provider by hand."""
    if not told.withdrawn and told.miladyEnrollmentId is None:
        raise Problem(422, "invalid_request", "Tell the miladyEnrollmentId that the provider has given.")
    links = tuple(CourseLink(title=link.title, url=link.url) for link in told.links)

    def decide(place: Place) -> Change:
        if told.withdrawn:
            return domain.confirm_withdrawn(place=place, mode=mode_of(request))
        return domain.confirm_enrolled(
            place=place, milady_enrollment_id=told.miladyEnrollmentId or "", links=links, mode=mode_of(request)
        )

    id = domain.enrollment_id(student_uuid(told.studentId), told.programSlug)
    async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as connection:
        uow = UnitOfWork(db=connection, source=SERVICE, now=utc_now())
        await db.lock_enrollment(connection, id)
        known, enrollment = await db.read_place(connection, id), await db.read_enrollment(connection, id)
        if known is None or enrollment is None:
            raise Problem(404, "unknown_enrollment", "This student has no place of Milady's in this program.")
        try:
            await carry_out(uow, enrollment, known, decide(known[0]))
        except NotNow as why:
            raise Problem(409, why.code, _WHY_NOT[why.code]) from None
    return await _one(request, caller, id)


@router.post("/retry")
async def retry(request: Request, caller: Admin, which: Retry) -> Retried:
    """Tries again what Milady has refused, after whatever was wrong has been mended."""
    failed = places.c.status == Status.FAILED.value
    if mode_of(request) == "api":
        failed = or_(failed, places.c.status == Status.MANUAL.value)  # there was no API when these were wished
    wanted = select(places.c.id).where(failed, places.c.step.is_(None)).order_by(places.c.id)
    if which.studentId is not None:
        wanted = wanted.where(places.c.student_id == student_uuid(which.studentId))
    if which.programSlug is not None:
        wanted = wanted.where(places.c.program_slug == which.programSlug)
    retried = 0
    async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as connection:
        ids = list(await connection.scalars(wanted.limit(EXPORT_LIMIT)))
    for id in ids:
        async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as connection:
            await db.lock_enrollment(connection, id)
            known, enrollment = await db.read_place(connection, id), await db.read_enrollment(connection, id)
            if known is None or enrollment is None:
                continue
            try:
                change = domain.retry(place=known[0], mode=mode_of(request))
            except NotNow:
                continue  # something has happened to it in between
            await carry_out(UnitOfWork(db=connection, source=SERVICE, now=utc_now()), enrollment, known, change)
            retried += 1
    if which.studentId is not None and which.programSlug is not None and not retried:
        raise Problem(409, "nothing_to_retry", _WHY_NOT["nothing_to_retry"])
    return Retried(retried=retried)


@router.get("/programs")
async def list_programs(request: Request, caller: CaseManager) -> Page[ProgramRow]:
    """The programs that are Milady's, by slug."""
    async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as connection:
        rows = (await connection.execute(select(programs).order_by(programs.c.program_slug))).all()
    return Page(items=[ProgramRow.model_validate(row_dict(row)) for row in rows])


@router.put("/programs/{program_slug}")
async def save_program(
    request: Request,
    caller: Admin,
    program_slug: Annotated[str, Path(min_length=1, max_length=200)],
    change: ProgramChange,
) -> ProgramRow:
    """Makes a program Milady's, or changes it. Those who have paid for it already are enrolled.

    With `is_active` false nobody new is enrolled; who is enrolled stays, and is withdrawn with a refund as ever.
    """
    async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as connection:
        uow = UnitOfWork(db=connection, source=SERVICE, now=utc_now())
        values = change.model_dump(exclude={"program_id"} if change.program_id is None else set())
        statement = insert(programs).values(
            program_slug=program_slug, revision=1, created_at=uow.now, updated_at=uow.now, **values
        )
        changed = statement.on_conflict_do_update(
            index_elements=["program_slug"],
            set_={**values, "revision": programs.c.revision + 1, "updated_at": uow.now},
        )
        row = (await connection.execute(changed.returning(programs))).one()
        if row.is_active:
            await uow.enqueue(db.ADOPT, key=f"{program_slug}/{row.revision}", payload={"program_slug": program_slug})
        return ProgramRow.model_validate(row_dict(row))


async def _one(request: Request, caller: Caller, id: UUID) -> AnyPlace:
    async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as connection:
        row = (await connection.execute(with_program().where(places.c.id == id))).one()
    return AnyPlace.model_validate({"attempts": None, "last_error": None, **row_dict(row)})
