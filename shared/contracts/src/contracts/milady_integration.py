"""Published by milady-integration: the student's enrollment at the course provider."""

from __future__ import annotations

from uuid import UUID

from pydantic import Field

from contracts.envelope import Event, Model
from contracts.people import Program


class CourseLink(Model):
    title: str = Field(max_length=300)
    url: str = Field(max_length=2000)


class MiladyEvent(Event):
    """`revision` increases with every event about the provider enrollment; the one with the highest is current."""

    student_id: UUID
    program: Program
    purchase_id: UUID | None = None
    revision: int = Field(default=0, ge=0, description="0: published before events had one")


class MiladyEnrolled(MiladyEvent):
    """The student is enrolled at the provider; `links` lead to the courses."""

    type = "milady.enrolled.v1"
    milady_enrollment_id: str = Field(max_length=200)
    links: list[CourseLink] = Field(default_factory=list)


class MiladyWithdrawn(MiladyEvent):
    """The student was withdrawn at the provider."""

    type = "milady.withdrawn.v1"
    milady_enrollment_id: str = Field(max_length=200)
    reason: str | None = Field(default=None, max_length=100)


class MiladyFailed(MiladyEvent):
    """The provider rejected the request, and an admin has to act. (An outage is retried and publishes nothing.)"""

    type = "milady.failed.v1"
    code: str = Field(max_length=100)
    attempts: int = Field(ge=1)
