"""The routes of admins: enrollments that need attention, manual enrollment, and Milady's programs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import and_, case, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.audit import Act
from contracts.milady_integration import CourseLink
from contracts.people import enrollment_uuid, student_uuid
from kit.db.database import row_dict
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.http import audit
from kit.http.auth import Admin, CaseManager
from kit.http.csv_documents import CsvResponse
from kit.http.dependencies import CallerUnitOfWork, CurrentDatabase
from kit.http.openapi import example
from kit.http.paging import Cursor, Page, page_of
from kit.http.problems import INVALID_REQUEST
from kit.jobs.jobs import jobs
from milady_integration import domain, repository
from milady_integration.api import CurrentMode, Limit, StudentEnrollment, act_on, with_program
from milady_integration.bulk_import import Line, csv_of
from milady_integration.domain import Change, DesiredState, InvalidTransition, Mode, ProviderEnrollment, Status, Step
from milady_integration.problems import (
    ALREADY_ENROLLED,
    NOT_WITHDRAWN,
    NOTHING_TO_RETRY,
    STEP_IN_PROGRESS,
    UNKNOWN_ENROLLMENT,
)
from milady_integration.reconciler import apply_change
from milady_integration.tables import contacts, enrollments, milady_programs, provider_enrollments
from milady_integration.topology import SERVICE

router = APIRouter(prefix="/api/admin/milady", tags=["milady admin"])

EXPORT_LIMIT = 10_000
_INVALID_TRANSITION = {
    each.code: each for each in (ALREADY_ENROLLED, STEP_IN_PROGRESS, NOT_WITHDRAWN, NOTHING_TO_RETRY)
}


class AnyEnrollment(StudentEnrollment):
    """Any student's enrollment at Milady, with its desired state, the step in progress and the last failure."""

    id: UUID
    desired_state: DesiredState
    reason: str | None
    purchase_id: UUID | None
    step: Step | None = Field(description="in progress at Milady")
    failed_step: Step | None
    failure: str | None = Field(description="Milady's error code, or `unavailable`")
    attempts: int | None = Field(description="of the step in progress")
    last_error: str | None


class ConfirmedLink(BaseModel):
    title: str = Field(min_length=1, max_length=300)
    url: str = Field(max_length=2000, pattern=r'^https?://[^\s<>"]+$')


class Confirmation(
    BaseModel,
    json_schema_extra=example(
        studentId="0b2f6c1e-6f0e-4d0a-8d52-9c7f3a1e2b44",
        programSlug="barber-apprenticeship",
        miladyEnrollmentId="ME-2041",
        links=[{"title": "Start", "url": "https://milady.example.com/start"}],
    ),
):
    model_config = ConfigDict(str_strip_whitespace=True)

    studentId: str = Field(min_length=1, max_length=200)
    programSlug: str = Field(min_length=1, max_length=200)
    miladyEnrollmentId: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][^\x00-\x1f\x7f]{0,199}$")
    links: list[ConfirmedLink] = Field(default_factory=list, max_length=100)
    withdrawn: bool = Field(default=False, description="confirms that the student was withdrawn by hand instead")


class Retry(BaseModel, json_schema_extra=example(programSlug="barber-apprenticeship")):
    """Narrows what is retried; an empty object retries everything that has failed."""

    model_config = ConfigDict(extra="forbid")

    studentId: str | None = Field(default=None, min_length=1, max_length=200)
    programSlug: str | None = Field(default=None, min_length=1, max_length=200)


class Retried(BaseModel):
    retried: int


class Course(BaseModel):
    id: str = Field(min_length=1, max_length=200)
    title: str = Field(min_length=1, max_length=300)


class ProgramChange(
    BaseModel, json_schema_extra=example(title="Barber", courses=[{"id": "BARB-101", "title": "Foundations"}])
):
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
async def list_milady_enrollments(
    caller: CaseManager,
    uow: CallerUnitOfWork,
    status: Annotated[Status | None, Query()] = None,
    program_slug: Annotated[str | None, Query(max_length=200)] = None,
    student_id: Annotated[UUID | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[AnyEnrollment]:
    """All students' enrollments at Milady, newest first; for case managers, those of their caseload. `status=failed`
    lists those that need attention."""
    job_of_step = and_(
        jobs.c.kind == func.concat("milady.", provider_enrollments.c.step),
        jobs.c.key == func.concat(provider_enrollments.c.id, "/", provider_enrollments.c.generation),
    )
    selected = with_program().add_columns(jobs.c.attempts, jobs.c.last_error).outerjoin(jobs, job_of_step)
    if status is not None:
        selected = selected.where(provider_enrollments.c.status == status.value)
    if program_slug is not None:
        selected = selected.where(provider_enrollments.c.program_slug == program_slug)
    if student_id is not None:
        selected = selected.where(provider_enrollments.c.student_id == student_id)
    return await page_of(uow.db, selected, provider_enrollments, AnyEnrollment, cursor=cursor, limit=limit)


@router.get("/export.csv", response_class=CsvResponse)
async def export_milady_enrollments(
    caller: Admin, uow: CallerUnitOfWork, action: Literal["enroll", "withdraw"] = "enroll"
) -> CsvResponse:
    """The students whom an admin has to enroll (or withdraw) by hand, as CSV for the provider's bulk import."""
    pending = provider_enrollments.c.status == Status.MANUAL.value
    if action == "withdraw":
        pending = and_(
            provider_enrollments.c.desired_state == DesiredState.WITHDRAWN.value,
            provider_enrollments.c.step.is_(None),
            provider_enrollments.c.status.in_((Status.ENROLLED.value, Status.FAILED.value)),
        )
    paid_with_contact = enrollments.c.contact_email.is_not(None)
    selected = (
        select(
            provider_enrollments,
            case((paid_with_contact, enrollments.c.contact_name), else_=contacts.c.name).label("contact_name"),
            func.coalesce(enrollments.c.contact_email, contacts.c.email).label("contact_email"),
            milady_programs.c.title,
            milady_programs.c.courses,
        )
        .join(enrollments, enrollments.c.id == provider_enrollments.c.id)
        .outerjoin(contacts, contacts.c.student_id == provider_enrollments.c.student_id)
        .outerjoin(milady_programs, milady_programs.c.program_slug == provider_enrollments.c.program_slug)
        .where(pending)
        .order_by(provider_enrollments.c.created_at, provider_enrollments.c.id)
        .limit(EXPORT_LIMIT)
    )
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
        for row in await uow.db.execute(selected)
    ]
    return csv_of(lines, filename=f"milady-{action}.csv")


@router.post("/confirm")
async def confirm_milady_enrollment(
    caller: Admin, uow: CallerUnitOfWork, mode: CurrentMode, body: Confirmation
) -> AnyEnrollment:
    """Records that an admin has enrolled (or withdrawn) a student at the provider by hand."""
    if not body.withdrawn and body.miladyEnrollmentId is None:
        raise INVALID_REQUEST("miladyEnrollmentId is required unless withdrawn is true.")
    student_id = student_uuid(body.studentId)
    id = enrollment_uuid(student_id, body.programSlug)
    await repository.lock_enrollment(uow.db, student_id, body.programSlug)
    existing = await repository.read_provider_enrollment(uow.db, id)
    enrollment = await repository.read_enrollment(uow.db, id)
    if existing is None or enrollment is None:
        raise UNKNOWN_ENROLLMENT("This student has no enrollment at Milady in this program.")
    try:
        await apply_change(uow, enrollment, existing, _confirmed(body, existing, mode))
    except InvalidTransition as error:
        raise _INVALID_TRANSITION[error.code]() from None
    confirmed = await _read(uow.db, id)
    await audit.record(uow, act_on("provider_enrollment.confirmed", enrollment, existing.status, confirmed.status))
    return confirmed


def _confirmed(body: Confirmation, existing: ProviderEnrollment, mode: Mode) -> Change:
    if body.withdrawn:
        return domain.confirm_withdrawn(existing=existing, mode=mode)
    links = tuple(CourseLink(title=link.title, url=link.url) for link in body.links)
    id = body.miladyEnrollmentId or ""
    return domain.confirm_enrolled(existing=existing, milady_enrollment_id=id, links=links, mode=mode)


@router.post("/retry")
async def retry_milady_enrollment(caller: Admin, database: CurrentDatabase, mode: CurrentMode, body: Retry) -> Retried:
    """Retries what has failed, after an admin has fixed the cause. Each enrollment is a transaction of its own."""
    failed = provider_enrollments.c.status == Status.FAILED.value
    if mode == "api":  # there was no API when these were requested
        failed = or_(failed, provider_enrollments.c.status == Status.MANUAL.value)
    columns = provider_enrollments.c
    selected = select(columns.student_id, columns.program_slug).where(failed, columns.step.is_(None))
    if body.studentId is not None:
        selected = selected.where(provider_enrollments.c.student_id == student_uuid(body.studentId))
    if body.programSlug is not None:
        selected = selected.where(provider_enrollments.c.program_slug == body.programSlug)
    async with database.transaction_of(student_id=caller.id, role=caller.role) as db:
        found = (await db.execute(selected.order_by(columns.id).limit(EXPORT_LIMIT))).all()
    retried = 0
    for row in found:
        async with database.transaction_of(student_id=caller.id, role=caller.role) as db:
            uow = UnitOfWork(db=db, source=SERVICE, now=utc_now())
            retried += await _retry(uow, row.student_id, row.program_slug, mode)
    if body.studentId is not None and body.programSlug is not None and not retried:
        raise NOTHING_TO_RETRY()
    return Retried(retried=retried)


async def _retry(uow: UnitOfWork, student_id: UUID, slug: str, mode: Mode) -> bool:
    """False if it has changed meanwhile, so that there is nothing to retry anymore."""
    id = enrollment_uuid(student_id, slug)
    await repository.lock_enrollment(uow.db, student_id, slug)
    existing = await repository.read_provider_enrollment(uow.db, id)
    enrollment = await repository.read_enrollment(uow.db, id)
    if existing is None or enrollment is None:
        return False
    try:
        change = domain.retry(existing=existing, mode=mode)
    except InvalidTransition:
        return False
    after = await apply_change(uow, enrollment, existing, change)
    await audit.record(uow, act_on("provider_enrollment.retried", enrollment, existing.status, after.status))
    return True


@router.get("/programs")
async def list_milady_programs(caller: CaseManager, uow: CallerUnitOfWork) -> Page[ProgramRow]:
    """Milady's programs, by slug."""
    rows = await uow.db.execute(select(milady_programs).order_by(milady_programs.c.program_slug))
    return Page(items=[ProgramRow.model_validate(row_dict(row)) for row in rows])


@router.put("/programs/{program_slug}")
async def save_milady_program(
    caller: Admin,
    uow: CallerUnitOfWork,
    program_slug: Annotated[str, Path(min_length=1, max_length=200)],
    body: ProgramChange,
) -> ProgramRow:
    """Adds or changes one of Milady's programs. Students who have paid for it already are enrolled.

    With `is_active` false no more students are enrolled. Those who are enrolled stay, and a refund withdraws them.
    """
    stored = select(milady_programs).where(milady_programs.c.program_slug == program_slug).with_for_update()
    before = (await uow.db.execute(stored)).one_or_none()
    changing = body.model_dump(exclude={"program_id"} if body.program_id is None else set())
    new = insert(milady_programs).values(
        program_slug=program_slug, revision=1, created_at=uow.now, updated_at=uow.now, **changing
    )
    saved = new.on_conflict_do_update(
        index_elements=["program_slug"],
        set_={**changing, "revision": milady_programs.c.revision + 1, "updated_at": uow.now},
    )
    row = (await uow.db.execute(saved.returning(milady_programs))).one()
    if row.is_active:
        key = f"{program_slug}/{row.revision}"
        await uow.enqueue(repository.ADOPT, key=key, payload={"program_slug": program_slug})
    after = ProgramRow.model_validate(row_dict(row))
    was = None if before is None else ProgramRow.model_validate(row_dict(before))
    await audit.record(
        uow, Act.of("provider_program.changed", "provider_program", program_slug, before=was, after=after)
    )
    return after


async def _read(db: AsyncConnection, id: UUID) -> AnyEnrollment:
    row = (await db.execute(with_program().where(provider_enrollments.c.id == id))).one()
    return AnyEnrollment.model_validate({"attempts": None, "last_error": None, **row_dict(row)})
