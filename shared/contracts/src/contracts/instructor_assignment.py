"""Published by instructor-assignment: which instructor teaches which student."""

from __future__ import annotations

from uuid import UUID

from pydantic import Field

from contracts.envelope import Event, Model
from contracts.people import Program


class Instructor(Model):
    id: UUID
    name: str = Field(max_length=200)
    specialty: str | None = Field(default=None, max_length=300)
    avatar: str | None = Field(default=None, max_length=1000)


class InstructorEvent(Event):
    """`revision` increases with every change of the assignment; the event with the highest one is current. A change of
    the instructor is a release and an assignment of the same revision."""

    student_id: UUID
    program: Program
    purchase_id: UUID | None = None
    revision: int = Field(default=0, ge=0, description="0: published before events had one")


class InstructorAssigned(InstructorEvent):
    """The student has this instructor now."""

    type = "instructor.assigned.v1"
    assignment_id: UUID
    instructor: Instructor


class InstructorReleased(InstructorEvent):
    """The student no longer has this instructor."""

    type = "instructor.released.v1"
    assignment_id: UUID
    instructor: Instructor
    reason: str | None = Field(default=None, max_length=100)


class InstructorUnavailable(InstructorEvent):
    """No active instructor of the program has capacity; one is assigned as soon as there is."""

    type = "instructor.unavailable.v1"
