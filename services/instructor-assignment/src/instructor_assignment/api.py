"""The routes of students, case managers and admins."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID, uuid4, uuid5

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from contracts.audit import Act
from instructor_assignment import capacity, repository
from instructor_assignment.domain import Status
from instructor_assignment.problems import INSTRUCTOR_HAS_STUDENTS, UNKNOWN_INSTRUCTOR
from instructor_assignment.student_assignment import StudentAssignment, with_instructor
from instructor_assignment.tables import ai_instructor_assignments as assignments
from instructor_assignment.tables import ai_instructors as instructors
from instructor_assignment.topology import SERVICE
from kit.db.database import row_dict
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.http import audit
from kit.http.auth import Admin, CaseManager, CurrentCaller
from kit.http.dependencies import CallerUnitOfWork, CurrentDatabase
from kit.http.idempotency import HEADER, IDEMPOTENT, once
from kit.http.openapi import example
from kit.http.paging import NEWEST, Cursor, Page, page_of

router = APIRouter(tags=["instructors"])

Limit = Annotated[int, Query(ge=1, le=200)]


class NewInstructor(
    BaseModel,
    json_schema_extra=example(program_slug="barber-apprenticeship", name="Ada", specialty="Barbering", capacity=500),
):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    program_slug: str = Field(min_length=1, max_length=200)
    name: str = Field(min_length=1, max_length=200)
    specialty: str | None = Field(default=None, max_length=300)
    avatar: str | None = Field(default=None, max_length=1000)
    capacity: int = Field(ge=0, le=1_000_000)
    is_active: bool = True


class InstructorChange(BaseModel, json_schema_extra=example(capacity=800)):
    """Omitted fields stay as they are. An instructor cannot move to another program."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    name: str = Field(default="", min_length=1, max_length=200)
    specialty: str | None = Field(default=None, max_length=300)
    avatar: str | None = Field(default=None, max_length=1000)
    capacity: int = Field(default=0, ge=0, le=1_000_000)
    is_active: bool = True


class InstructorRow(BaseModel):
    id: UUID
    program_slug: str
    is_active: bool
    name: str
    specialty: str | None
    avatar: str | None
    capacity: int
    students: int = Field(description="number of students assigned now")
    created_at: datetime
    updated_at: datetime


@router.get("/api/instructors/mine")
async def list_own_instructors(
    caller: CurrentCaller, uow: CallerUnitOfWork, cursor: Cursor = None, limit: Limit = 50
) -> Page[StudentAssignment]:
    """The caller's own instructors, one per program, newest first."""
    selected = with_instructor().where(assignments.c.student_id == caller.id)
    return await page_of(uow.db, selected, assignments, StudentAssignment, cursor=cursor, limit=limit)


@router.get("/api/admin/instructor-assignments")
async def list_instructor_assignments(
    caller: CaseManager,
    uow: CallerUnitOfWork,
    status: Annotated[Status | None, Query()] = None,
    program_slug: Annotated[str | None, Query(max_length=200)] = None,
    student_id: Annotated[UUID | None, Query()] = None,
    instructor_id: Annotated[UUID | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[StudentAssignment]:
    """All students' assignments, newest first; for case managers, those of their caseload."""
    selected = with_instructor()
    if status is not None:
        selected = selected.where(assignments.c.status == status.value)
    if program_slug is not None:
        selected = selected.where(assignments.c.program_slug == program_slug)
    if student_id is not None:
        selected = selected.where(assignments.c.student_id == student_id)
    if instructor_id is not None:
        selected = selected.where(assignments.c.instructor_id == instructor_id)
    return await page_of(uow.db, selected, assignments, StudentAssignment, cursor=cursor, limit=limit)


@router.get("/api/admin/instructors")
async def list_instructors(
    caller: Admin,
    uow: CallerUnitOfWork,
    program_slug: Annotated[str | None, Query(max_length=200)] = None,
    is_active: Annotated[bool | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
    sort: Literal["-created_at", "created_at", "name", "-name", "-students", "students"] = NEWEST,
) -> Page[InstructorRow]:
    """All instructors with their numbers of students, newest first."""
    selected = select(instructors)
    if program_slug is not None:
        selected = selected.where(instructors.c.program_slug == program_slug)
    if is_active is not None:
        selected = selected.where(instructors.c.is_active == is_active)
    return await page_of(uow.db, selected, instructors, InstructorRow, cursor=cursor, limit=limit, sort=sort)


@router.get("/api/admin/instructors/{instructor_id}")
async def read_instructor(caller: Admin, uow: CallerUnitOfWork, instructor_id: UUID) -> InstructorRow:
    """One instructor, with its number of students."""
    return await _read(uow.db, instructor_id)


@router.post("/api/admin/instructors", status_code=201, response_model=InstructorRow, dependencies=IDEMPOTENT)
async def add_instructor(
    request: Request, caller: Admin, database: CurrentDatabase, body: NewInstructor
) -> JSONResponse:
    """Adds an instructor, and assigns waiting students of the program in the same transaction."""
    key = request.headers.get(HEADER)
    instructor_id = uuid5(caller.id, key) if key else uuid4()

    async def act() -> InstructorRow:
        # not the request's unit of work: this has to commit before `once` stores the response
        async with database.transaction_of(student_id=caller.id, role=caller.role) as db:
            await repository.lock_program(db, body.program_slug)
            row = insert(instructors).values(id=instructor_id, **body.model_dump())
            await db.execute(row.on_conflict_do_nothing())  # exists already after a crash before the response
            uow = UnitOfWork(db=db, source=SERVICE, now=utc_now())
            await capacity.assign_waiting(uow, body.program_slug)
            added = await _read(db, instructor_id)
            await audit.record(uow, Act.of("instructor.created", "instructor", instructor_id, after=added))
            return added

    return await once(request, database, caller=str(caller.id), act=act, status=201)


@router.patch("/api/admin/instructors/{instructor_id}")
async def change_instructor(
    caller: Admin, uow: CallerUnitOfWork, instructor_id: UUID, body: InstructorChange
) -> InstructorRow:
    """Changes an instructor. The students of one who becomes inactive are reassigned or wait; new capacity is filled
    with waiting students.

    A capacity below the number of students releases nobody; it only stops new assignments.
    """
    before = await _lock(uow.db, instructor_id)
    await uow.db.execute(
        update(instructors)
        .where(instructors.c.id == instructor_id)
        .values(**body.model_dump(exclude_unset=True), updated_at=uow.now)
    )
    after = await _read(uow.db, instructor_id)
    if not after.is_active:
        await capacity.reassign_students(uow, instructor_id, before.program_slug, reason="instructor_inactive")
    await capacity.assign_waiting(uow, before.program_slug)
    changed = await _read(uow.db, instructor_id)
    await audit.record(uow, Act.of("instructor.changed", "instructor", instructor_id, before=before, after=changed))
    return changed


@router.delete("/api/admin/instructors/{instructor_id}", status_code=204)
async def remove_instructor(caller: Admin, uow: CallerUnitOfWork, instructor_id: UUID) -> Response:
    """Removes an instructor if the others can take all of their students; otherwise a 409."""
    before = await _lock(uow.db, instructor_id)
    is_this = instructors.c.id == instructor_id
    await uow.db.execute(update(instructors).where(is_this).values(is_active=False))
    try:
        await capacity.reassign_students(
            uow, instructor_id, before.program_slug, reason="instructor_removed", all_or_none=True
        )
    except capacity.InsufficientCapacity:
        raise INSTRUCTOR_HAS_STUDENTS(students=before.students) from None
    await uow.db.execute(delete(instructors).where(is_this))
    await audit.record(uow, Act.of("instructor.removed", "instructor", instructor_id, before=before))
    return Response(status_code=204)


async def _lock(db: AsyncConnection, instructor_id: UUID) -> InstructorRow:
    """Locks the instructor's program and returns the instructor. A 404 if there is none."""
    found = await _read(db, instructor_id)
    await repository.lock_program(db, found.program_slug)
    return await _read(db, instructor_id)


async def _read(db: AsyncConnection, instructor_id: UUID) -> InstructorRow:
    row = (await db.execute(select(instructors).where(instructors.c.id == instructor_id))).one_or_none()
    if row is None:
        raise UNKNOWN_INSTRUCTOR()
    return InstructorRow.model_validate(row_dict(row))
