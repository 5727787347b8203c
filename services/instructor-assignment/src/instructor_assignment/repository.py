"""Instructors and assignments in the database.

Rows that are read to assign or release an instructor are read under the program's lock (`lock_program`), so that a
payment, freed capacity and an admin's change never decide on numbers that another transaction is changing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, and_, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.instructor_assignment import Instructor
from instructor_assignment.domain import Assignment, Change, DesiredAssignment, DesiredStatus, InstructorLoad, Status
from instructor_assignment.tables import ai_instructor_assignments as assignments
from instructor_assignment.tables import ai_instructors as instructors
from kit.db.unit_of_work import UnitOfWork
from kit.runtime.trace import Cause


def lock_name(program_slug: str) -> str:
    """The program's advisory lock. It needs no row, so a program without instructors has one too."""
    return f"instructors/{program_slug}"


async def lock_program(db: AsyncConnection, program_slug: str) -> None:
    await db.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(lock_name(program_slug), 0))))


async def read(db: AsyncConnection, ids: Collection[UUID]) -> Sequence[Assignment]:
    return await _read(db, assignments.c.id.in_(ids))


async def waiting(db: AsyncConnection, program_slug: str, limit: int) -> Sequence[Assignment]:
    """The waiting students, longest wait first."""
    is_waiting = and_(
        assignments.c.program_slug == program_slug,
        assignments.c.status == Status.WAITING.value,
        # not one that this transaction is about to release
        assignments.c.desired_status == DesiredStatus.ASSIGNED.value,
    )
    return await _read(db, is_waiting, limit)


async def students_of(db: AsyncConnection, instructor_id: UUID) -> Sequence[Assignment]:
    return await _read(db, assignments.c.instructor_id == instructor_id)


async def loads(db: AsyncConnection, program_slug: str) -> Sequence[InstructorLoad]:
    """The active instructors of a program, with the number of their students."""
    selected = select(instructors).where(instructors.c.program_slug == program_slug, instructors.c.is_active)
    return [
        InstructorLoad(
            instructor=Instructor(id=row.id, name=row.name, specialty=row.specialty, avatar=row.avatar),
            capacity=row.capacity,
            students=row.students,
        )
        for row in await db.execute(selected)
    ]


async def apply(uow: UnitOfWork, change: Change) -> None:
    """Writes the change and publishes its events."""
    after = change.after
    if after != change.before:
        changed = update(assignments).where(assignments.c.id == after.id)
        await uow.db.execute(
            changed.values(
                status=after.status.value,
                instructor_id=after.instructor.id if after.instructor else None,
                since=after.since,
                revision=after.revision,
                updated_at=uow.now,
            )
        )
    for event in change.events:
        id = f"{after.id}/{after.revision}/{event.type}"
        await uow.publish(event, id=id, subject=str(after.desired.purchase_id or after.id))


async def with_cause_of(uow: UnitOfWork, assignment_id: UUID) -> UnitOfWork:
    """The same unit of work for an assignment that an admin or another student's payment changes.

    Its events belong to the payment that the assignment came from.
    """
    cause = await uow.db.scalar(select(assignments.c.cause).where(assignments.c.id == assignment_id))
    return replace(uow, cause=Cause(**cause) if cause else None)


async def _read(db: AsyncConnection, condition: ColumnElement[bool], limit: int | None = None) -> Sequence[Assignment]:
    selected = _with_instructor().where(condition).order_by(assignments.c.since, assignments.c.id).limit(limit)
    return [_assignment(row) for row in await db.execute(selected)]


def _with_instructor() -> Select[Any]:  # Any: SQLAlchemy has no type for the rows of a whole table
    taught_by = (instructors.c.name, instructors.c.specialty, instructors.c.avatar)
    return select(assignments, *taught_by).outerjoin(instructors, instructors.c.id == assignments.c.instructor_id)


def _assignment(row: Row[Any]) -> Assignment:
    instructor = None
    if row.instructor_id is not None:
        instructor = Instructor(id=row.instructor_id, name=row.name, specialty=row.specialty, avatar=row.avatar)
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
