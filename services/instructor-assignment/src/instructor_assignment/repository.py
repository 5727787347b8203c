"""Instructors and assignments in the database.

Rows that are read to assign or release an instructor are read under the program's lock (`lock_program`), so that a
payment, freed capacity and an admin's change never decide on numbers that another transaction is changing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Row, Text, Uuid, any_, bindparam, column, func, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.instructor_assignment import Instructor
from instructor_assignment.domain import Assignment, Change, DesiredAssignment, DesiredStatus, InstructorLoad, Status
from instructor_assignment.tables import ai_instructor_assignments as assignments
from instructor_assignment.tables import ai_instructors as instructors
from kit.db.unit_of_work import UnitOfWork
from kit.runtime.trace import Cause

_IDS = any_(bindparam("ids", type_=ARRAY(Uuid)))
_SLUGS = any_(bindparam("slugs", type_=ARRAY(Text)))
_WITH_INSTRUCTOR = (
    select(assignments, instructors.c.name, instructors.c.specialty, instructors.c.avatar)
    .outerjoin(instructors, instructors.c.id == assignments.c.instructor_id)
    .order_by(assignments.c.since, assignments.c.id)
)
_READ = _WITH_INSTRUCTOR.where(assignments.c.id == _IDS)
_STUDENTS = _WITH_INSTRUCTOR.where(assignments.c.instructor_id == bindparam("instructor_id"))
_PROGRAMS = (
    func.unnest(bindparam("slugs", type_=ARRAY(Text)), bindparam("limits", type_=ARRAY(BigInteger)))
    .table_valued(column("slug", Text), column("most", BigInteger), name="programs")
    .render_derived()
)
_LONGEST = (
    select(assignments)
    .where(
        assignments.c.program_slug == _PROGRAMS.c.slug,
        assignments.c.status == Status.WAITING.value,
        # not one that this transaction is about to release
        assignments.c.desired_status == DesiredStatus.ASSIGNED.value,
    )
    .order_by(assignments.c.since, assignments.c.id)
    .limit(_PROGRAMS.c.most)
    .lateral("longest")
)
_WAITING = select(_LONGEST).select_from(_PROGRAMS.join(_LONGEST, true())).order_by(_LONGEST.c.since, _LONGEST.c.id)
_CAUSES = select(assignments.c.id, assignments.c.cause).where(assignments.c.id == _IDS)
_LOADS = select(instructors).where(instructors.c.program_slug == _SLUGS, instructors.c.is_active)
_WRITE = (
    update(assignments)
    .where(assignments.c.id == bindparam("assignment_id"))
    .values({name: bindparam(name) for name in ("status", "instructor_id", "since", "revision", "updated_at")})
)


def lock_name(program_slug: str) -> str:
    """The program's advisory lock. It needs no row, so a program without instructors has one too."""
    return f"instructors/{program_slug}"


async def lock_program(db: AsyncConnection, program_slug: str) -> None:
    await db.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(lock_name(program_slug), 0))))


async def read(db: AsyncConnection, ids: Collection[UUID]) -> Sequence[Assignment]:
    """The longest wait first."""
    return [_assignment(row, _instructor(row)) for row in await db.execute(_READ, {"ids": list(ids)})]


async def waiting(db: AsyncConnection, limits: Mapping[str, int]) -> Mapping[str, Sequence[Assignment]]:
    """The waiting students of each of these programs, longest wait first, and at most so many."""
    found: dict[str, list[Assignment]] = {slug: [] for slug in limits}
    if any(limits.values()):
        rows = await db.execute(_WAITING, {"slugs": list(limits), "limits": list(limits.values())})
        for row in rows:
            found[row.program_slug].append(_assignment(row, None))
    return found


async def students_of(db: AsyncConnection, instructor_id: UUID) -> Sequence[Assignment]:
    rows = await db.execute(_STUDENTS, {"instructor_id": instructor_id})
    return [_assignment(row, _instructor(row)) for row in rows]


async def loads(db: AsyncConnection, program_slugs: Collection[str]) -> Mapping[str, Sequence[InstructorLoad]]:
    """The active instructors of each of these programs, with the number of their students."""
    found: dict[str, list[InstructorLoad]] = {slug: [] for slug in program_slugs}
    for row in await db.execute(_LOADS, {"slugs": list(program_slugs)}):
        instructor = Instructor(id=row.id, name=row.name, specialty=row.specialty, avatar=row.avatar)
        load = InstructorLoad(instructor=instructor, capacity=row.capacity, students=row.students)
        found[row.program_slug].append(load)
    return found


async def apply(
    uow: UnitOfWork, changes: Sequence[Change], causes: Mapping[UUID, Cause | None] = MappingProxyType({})
) -> None:
    """Writes the changes, in one round trip, and publishes their events.

    `causes`: by the ids of the assignments. An assignment that is not in it is changed by an admin or by another
    student's payment; its events belong to the payment that it came from.
    """
    if not changes:
        return
    others = [change.after.id for change in changes if change.after.id not in causes]
    causes = {**causes, **(await _causes(uow.db, others) if others else {})}
    await uow.db.execute(_WRITE, [_values(change.after, uow.now) for change in changes])
    for change in changes:
        after = change.after
        caused = replace(uow, cause=causes[after.id])
        for event in change.events:
            id = f"{after.id}/{after.revision}/{event.type}"
            await caused.publish(event, id=id, subject=str(after.desired.purchase_id or after.id))


def _values(after: Assignment, now: datetime) -> Mapping[str, Any]:
    return {
        "assignment_id": after.id,
        "status": after.status.value,
        "instructor_id": after.instructor.id if after.instructor else None,
        "since": after.since,
        "revision": after.revision,
        "updated_at": now,
    }


async def _causes(db: AsyncConnection, ids: Collection[UUID]) -> Mapping[UUID, Cause | None]:
    """By assignment: the event that last changed it."""
    rows = await db.execute(_CAUSES, {"ids": list(ids)})
    return {row.id: Cause(**row.cause) if row.cause else None for row in rows}


# Any: SQLAlchemy has no type for the rows of a whole table
def _instructor(row: Row[Any]) -> Instructor | None:
    if row.instructor_id is None:
        return None
    return Instructor(id=row.instructor_id, name=row.name, specialty=row.specialty, avatar=row.avatar)


def _assignment(row: Row[Any], instructor: Instructor | None) -> Assignment:
    return Assignment(
        desired=DesiredAssignment(
            id=row.id,
            student_id=row.student_id,
            program_slug=row.program_slug,
            program_id=row.program_id,
            program_name=row.program_name,
            provider=row.provider,
            desired_status=DesiredStatus(row.desired_status),
            reason=row.reason,
            purchase_id=row.purchase_id,
        ),
        status=Status(row.status),
        instructor=instructor,
        since=row.since,
        revision=row.revision,
    )
