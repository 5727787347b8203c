"""An assignment with its instructor, as students and staff see it."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import Select, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.instructor_assignment import Instructor
from instructor_assignment.domain import Status
from instructor_assignment.problems import UNKNOWN_ASSIGNMENT
from instructor_assignment.tables import ai_instructor_assignments as assignments
from instructor_assignment.tables import ai_instructors as instructors
from kit.db.database import row_dict
from ledger.verdict import SUPERSEDED


class StudentAssignment(BaseModel):
    """A student's instructor in a program; null while the student waits for one, and after a release."""

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


async def own_assignment(db: AsyncConnection, assignment_id: UUID, student_id: UUID) -> StudentAssignment:
    """Raises Problem 404 if the student has none with this id."""
    wanted = with_instructor().where(assignments.c.id == assignment_id, assignments.c.student_id == student_id)
    row = (await db.execute(wanted)).one_or_none()
    if row is None:
        raise UNKNOWN_ASSIGNMENT()
    return StudentAssignment.model_validate(row_dict(row))


# Any: SQLAlchemy has no type for the rows of a whole table; the response model checks them.
def with_instructor() -> Select[Any]:
    """Assignments with their instructors, without those of a program or student that a later event corrected."""
    c = instructors.c
    described = func.jsonb_build_object("id", c.id, "name", c.name, "specialty", c.specialty, "avatar", c.avatar)
    instructor = case((c.id.is_not(None), described)).label("instructor")
    current = select(assignments, instructor).where(assignments.c.reason.is_distinct_from(SUPERSEDED))
    return current.outerjoin(instructors, c.id == assignments.c.instructor_id)
