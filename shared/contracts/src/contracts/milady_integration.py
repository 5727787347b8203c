"""Said by milady-integration: the enrollment at the outside course provider."""

from __future__ import annotations

from uuid import UUID

from pydantic import Field

from contracts.envelope import Event, Model
from contracts.people import Program


class CourseLink(Model):
    title: str = Field(max_length=300)
    url: str = Field(max_length=2000)


class MiladyEvent(Event):
    student_id: UUID
    program: Program
    purchase_id: UUID | None = None


class MiladyEnrolled(MiladyEvent):
    """The provider has an enrollment for the student, and these are its links."""

    type = "milady.enrolled.v1"
    milady_enrollment_id: str = Field(max_length=200)
    links: list[CourseLink] = Field(default_factory=list)


class MiladyWithdrawn(MiladyEvent):
    """The provider's enrollment was given back."""

    type = "milady.withdrawn.v1"
    milady_enrollment_id: str = Field(max_length=200)
    reason: str | None = Field(default=None, max_length=100)


class MiladyFailed(MiladyEvent):
    """The provider refuses; a human has to look. (What is only down is retried and says nothing.)"""

    type = "milady.failed.v1"
    code: str = Field(max_length=100)
    attempts: int = Field(ge=1)
