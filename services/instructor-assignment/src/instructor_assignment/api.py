"""What instructor-assignment answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID, uuid4, uuid5

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Select, case, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from contracts.instructor_assignment import Instructor
from instructor_assignment import db, places
from instructor_assignment.domain import Status
from instructor_assignment.tables import ai_instructor_assignments as assignments
from instructor_assignment.tables import ai_instructors as instructors
from instructor_assignment.topology import SERVICE
from kit.db.database import Database, row_dict
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.http.auth import Admin, CaseManager, CurrentCaller
from kit.http.errors import Problem
from kit.http.idempotency import HEADER, HONOURS_KEY, once
from kit.http.paging import Cursor, Page, page_of

router = APIRouter(tags=["instructors"])

Limit = Annotated[int, Query(ge=1, le=200)]


class Assigned(BaseModel):
    """A student's instructor in a program; null while they wait for one, and after they were released."""

    id: UUID
    student_id: UUID
    program_slug: str
    program_id: str
    program_name: str | None
    status: Status
    instructor: Instructor | None
    reason: str | None
    purchase_id: UUID | None
    since: datetime
    created_at: datetime
    updated_at: datetime


class NewInstructor(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    program_slug: str = Field(min_length=1, max_length=200)
    name: str = Field(min_length=1, max_length=200)
    specialty: str | None = Field(default=None, max_length=300)
    avatar: str | None = Field(default=None, max_length=1000)
    capacity: int = Field(ge=0, le=1_000_000)
    is_active: bool = True


class InstructorChange(BaseModel):
    """What is left out stays as it is. An instructor stays with their program."""

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
    students: int = Field(description="how many are assigned now")
    created_at: datetime
    updated_at: datetime


@router.get("/api/instructors/mine")
async def my_instructors(
    request: Request, caller: CurrentCaller, cursor: Cursor = None, limit: Limit = 50
) -> Page[Assigned]:
    """The caller's own instructors, one per program, newest first."""
    wanted = _assigned().where(assignments.c.student_id == caller.id)
    async with _database(request).transaction_of(student_id=caller.id, role=caller.role) as connection:
        return await page_of(connection, wanted, assignments, Assigned, cursor=cursor, limit=limit)


@router.get("/api/admin/instructor-assignments")
async def list_assignments(
    request: Request,
    caller: CaseManager,
    status: Annotated[Status | None, Query()] = None,
    program_slug: Annotated[str | None, Query(max_length=200)] = None,
    student_id: Annotated[UUID | None, Query()] = None,
    instructor_id: Annotated[UUID | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Assigned]:
    """Everybody's assignments, newest first: who waits, who teaches whom."""
    wanted = _assigned()
    filters = {
        "status": status.value if status else None,
        "program_slug": program_slug,
        "student_id": student_id,
        "instructor_id": instructor_id,
    }
    for column, value in filters.items():
        if value is not None:
            wanted = wanted.where(assignments.c[column] == value)
    async with _database(request).transaction_of(student_id=caller.id, role=caller.role) as connection:
        return await page_of(connection, wanted, assignments, Assigned, cursor=cursor, limit=limit)


@router.get("/api/admin/instructors")
async def list_instructors(
    request: Request,
    caller: Admin,
    program_slug: Annotated[str | None, Query(max_length=200)] = None,
    is_active: Annotated[bool | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[InstructorRow]:
    """All instructors and how many students they have, newest first."""
    wanted = _with_students()
    for column, value in {"program_slug": program_slug, "is_active": is_active}.items():
        if value is not None:
            wanted = wanted.where(instructors.c[column] == value)
    async with _database(request).transaction_of(student_id=caller.id, role=caller.role) as connection:
        return await page_of(connection, wanted, instructors, InstructorRow, cursor=cursor, limit=limit)


@router.get("/api/admin/instructors/{instructor_id}")
async def read_instructor(request: Request, caller: Admin, instructor_id: UUID) -> InstructorRow:
    async with _database(request).transaction_of(student_id=caller.id, role=caller.role) as connection:
        return await _read(connection, instructor_id)


@router.post("/api/admin/instructors", status_code=201, response_model=InstructorRow, dependencies=HONOURS_KEY)
async def add_instructor(request: Request, caller: Admin, new: NewInstructor) -> JSONResponse:
    """Adds an instructor; who waits for one in this program is assigned in the same breath."""
    key = request.headers.get(HEADER)
    instructor_id = uuid5(caller.id, key) if key else uuid4()

    async def act() -> InstructorRow:
        async with _database(request).transaction_of(student_id=caller.id, role=caller.role) as connection:
            await db.lock_programs(connection, [new.program_slug])
            row = insert(instructors).values(id=instructor_id, **new.model_dump())
            await connection.execute(row.on_conflict_do_nothing())  # there already: a crash came before the answer
            await places.fill(_work(connection), new.program_slug)
            return await _read(connection, instructor_id)

    return await once(request, _database(request), caller=str(caller.id), act=act, status=201)


@router.patch("/api/admin/instructors/{instructor_id}")
async def change_instructor(
    request: Request, caller: Admin, instructor_id: UUID, change: InstructorChange
) -> InstructorRow:
    """Changes an instructor. Who is no longer active hands their students over; who has room takes those who wait.

    A capacity below the number of students takes nobody's instructor away, it only lets nobody else in.
    """
    async with _database(request).transaction_of(student_id=caller.id, role=caller.role) as connection:
        known = await _locked(connection, instructor_id)
        uow = _work(connection)
        await connection.execute(
            update(instructors)
            .where(instructors.c.id == instructor_id)
            .values(**change.model_dump(exclude_unset=True), updated_at=uow.now)
        )
        changed = await _read(connection, instructor_id)
        if not changed.is_active:
            await places.empty(uow, instructor_id, known.program_slug, reason="instructor_inactive")
        await places.fill(uow, known.program_slug)
        return await _read(connection, instructor_id)


@router.delete("/api/admin/instructors/{instructor_id}", status_code=204)
async def remove_instructor(request: Request, caller: Admin, instructor_id: UUID) -> Response:
    """Removes an instructor whose students all find a place with others; 409 when they do not."""
    async with _database(request).transaction_of(student_id=caller.id, role=caller.role) as connection:
        known = await _locked(connection, instructor_id)
        mine = instructors.c.id == instructor_id
        await connection.execute(update(instructors).where(mine).values(is_active=False))
        try:
            await places.empty(
                _work(connection), instructor_id, known.program_slug, reason="instructor_removed", all_or_none=True
            )
        except places.NoRoomElsewhere:
            raise Problem(
                409,
                "instructor_has_students",
                "The other instructors of this program have no room for all of the students. Add one or raise a "
                "capacity first; or set is_active to false, and those without a place wait for one.",
                students=known.students,
            ) from None
        await connection.execute(delete(instructors).where(mine))
    return Response(status_code=204)


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


def _work(connection: AsyncConnection) -> UnitOfWork:
    return UnitOfWork(db=connection, source=SERVICE, now=utc_now())


def _assigned() -> Select[Any]:
    c = instructors.c
    described = func.jsonb_build_object("id", c.id, "name", c.name, "specialty", c.specialty, "avatar", c.avatar)
    taught_by = case((c.id.is_not(None), described)).label("instructor")
    return select(assignments, taught_by).outerjoin(instructors, c.id == assignments.c.instructor_id)


def _with_students() -> Select[Any]:
    count = select(func.count()).where(assignments.c.instructor_id == instructors.c.id).scalar_subquery()
    return select(instructors, count.label("students"))


async def _locked(connection: AsyncConnection, instructor_id: UUID) -> InstructorRow:
    """The instructor, with their program locked. A 404 when there is none."""
    known = await _read(connection, instructor_id)
    await db.lock_programs(connection, [known.program_slug])
    return await _read(connection, instructor_id)


async def _read(connection: AsyncConnection, instructor_id: UUID) -> InstructorRow:
    row = (await connection.execute(_with_students().where(instructors.c.id == instructor_id))).one_or_none()
    if row is None:
        raise Problem(404, "unknown_instructor", "There is no such instructor; GET /api/admin/instructors lists all.")
    return InstructorRow.model_validate(row_dict(row))
