"""Said by enrollment: how a seat stands."""

from __future__ import annotations

from uuid import UUID

from pydantic import Field

from contracts.envelope import Event
from contracts.people import Program


class EnrollmentEvent(Event):
    """A seat has changed. `revision` counts its changes from 1; a higher one is the later word."""

    enrollment_id: UUID
    student_id: UUID
    program: Program
    purchase_id: UUID | None = None
    revision: int = Field(ge=1)
    reason: str | None = Field(default=None, max_length=100)


class EnrollmentPending(EnrollmentEvent):
    type = "enrollment.pending.v1"


class EnrollmentActivated(EnrollmentEvent):
    type = "enrollment.activated.v1"


class EnrollmentPaused(EnrollmentEvent):
    type = "enrollment.paused.v1"


class EnrollmentResumed(EnrollmentEvent):
    type = "enrollment.resumed.v1"


class EnrollmentWithdrawn(EnrollmentEvent):
    type = "enrollment.withdrawn.v1"


class EnrollmentCompleted(EnrollmentEvent):
    type = "enrollment.completed.v1"
