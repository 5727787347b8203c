"""Instructors and assignments in the database.

Whoever reads them in order to change them holds the lock of their program (`lock_programs`): a new payment, a place
that has become free and an admin's change then never decide on numbers that another one is changing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, and_, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.instructor_assignment import Instructor
from contracts.people import Program
from instructor_assignment.domain import Assignment, Change, Status, Teacher
from instructor_assignment.tables import ai_instructor_assignments as assignments
from instructor_assignment.tables import ai_instructors as instructors
from kit.db.unit_of_work import UnitOfWork
from kit.runtime.trace import Cause


async def lock_programs(db: AsyncConnection, slugs: Iterable[str]) -> None:
    """Until the transaction ends. A program needs no row for it, so an instructor who is not there yet is no gap."""
    for slug in sorted(set(slugs)):
        await db.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"instructors/{slug}", 0))))


async def read(db: AsyncConnection, assignment_id: UUID) -> Assignment | None:
    row = (await db.execute(_with_instructor().where(assignments.c.id == assignment_id))).one_or_none()
    return None if row is None else _assignment(row)


async def waiting(db: AsyncConnection, program_slug: str, most: int) -> Sequence[Assignment]:
    """Those who wait, longest first."""
    return await _assignments(db, Status.WAITING, assignments.c.program_slug == program_slug, most)


async def students_of(db: AsyncConnection, instructor_id: UUID) -> Sequence[Assignment]:
    return await _assignments(db, Status.ASSIGNED, assignments.c.instructor_id == instructor_id, None)


async def teachers(db: AsyncConnection, program_slug: str) -> Sequence[Teacher]:
    """The active instructors of a program, with the number of their students."""
    wanted = (
        select(instructors, func.count(assignments.c.id).label("students"))
        .outerjoin(assignments, assignments.c.instructor_id == instructors.c.id)
        .where(instructors.c.program_slug == program_slug, instructors.c.is_active)
        .group_by(instructors.c.id)
    )
    return [
        Teacher(
            instructor=Instructor(id=row.id, name=row.name, specialty=row.specialty, avatar=row.avatar),
            capacity=row.capacity,
            students=row.students,
        )
        for row in await db.execute(wanted)
    ]


async def apply(uow: UnitOfWork, change: Change) -> None:
    """Writes the change and says what it says."""
    after = change.after
    cause = asdict(uow.cause) if uow.cause else None
    values: dict[str, Any] = {
        "status": after.status.value,
        "instructor_id": after.instructor.id if after.instructor else None,
        "reason": after.reason,
        "since": after.since,
        "revision": after.revision,
        "cause": cause,
        "updated_at": uow.now,
    }
    if change.before is None:
        fixed = {"id": after.id, "student_id": after.student_id, "program_slug": after.program.slug}
        await uow.db.execute(insert(assignments).values(**fixed, **_told(after), created_at=uow.now, **values))
    else:
        if _told(change.before) != _told(after):  # only a payment tells these, and only its consumer may write them
            values |= _told(after)
        await uow.db.execute(update(assignments).where(assignments.c.id == after.id).values(**values))
    for event in change.publishes:
        await uow.publish(
            event, id=f"{after.id}/{after.revision}/{event.type}", subject=str(after.purchase_id or after.id)
        )


async def on_behalf_of(uow: UnitOfWork, assignment_id: UUID) -> UnitOfWork:
    """The same work, for an assignment that another one's payment or an admin has moved.

    What it says hangs together with the payment that the assignment itself came from.
    """
    cause = (await uow.db.execute(select(assignments.c.cause).where(assignments.c.id == assignment_id))).scalar_one()
    return replace(uow, cause=Cause(**cause) if cause else None)


def _told(assignment: Assignment) -> dict[str, Any]:
    program = assignment.program
    return {
        "program_id": program.id,
        "program_name": program.name,
        "provider": program.provider,
        "purchase_id": assignment.purchase_id,
    }


def _with_instructor() -> Select[Any]:
    taught_by = (instructors.c.name, instructors.c.specialty, instructors.c.avatar)
    return select(assignments, *taught_by).outerjoin(instructors, instructors.c.id == assignments.c.instructor_id)


async def _assignments(
    db: AsyncConnection, status: Status, condition: ColumnElement[bool], most: int | None
) -> Sequence[Assignment]:
    wanted = (
        _with_instructor()
        .where(and_(assignments.c.status == status.value, condition))
        .order_by(assignments.c.since, assignments.c.id)
        .limit(most)
    )
    return [_assignment(row) for row in await db.execute(wanted)]


def _assignment(row: Row[Any]) -> Assignment:
    instructor = None
    if row.instructor_id is not None:
        instructor = Instructor(id=row.instructor_id, name=row.name, specialty=row.specialty, avatar=row.avatar)
    return Assignment(
        id=row.id,
        student_id=row.student_id,
        program=Program(slug=row.program_slug, id=row.program_id, name=row.program_name, provider=row.provider),
        status=Status(row.status),
        instructor=instructor,
        reason=row.reason,
        purchase_id=row.purchase_id,
        since=row.since,
        revision=row.revision,
    )
