"""Said by instructor-assignment: who teaches whom."""

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
    student_id: UUID
    program: Program
    purchase_id: UUID | None = None


class InstructorAssigned(InstructorEvent):
    """This instructor teaches the student."""

    type = "instructor.assigned.v1"
    assignment_id: UUID
    instructor: Instructor


class InstructorReleased(InstructorEvent):
    """The student and the instructor have parted."""

    type = "instructor.released.v1"
    assignment_id: UUID
    instructor: Instructor
    reason: str | None = Field(default=None, max_length=100)


class InstructorUnavailable(InstructorEvent):
    """Nobody active teaches the program (or everyone is full); assigned as soon as somebody does."""

    type = "instructor.unavailable.v1"
