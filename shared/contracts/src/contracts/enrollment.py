"""Said by enrollment: how an enrollment stands."""

from __future__ import annotations

from uuid import UUID

from pydantic import Field

from contracts.envelope import Event
from contracts.people import Program


class EnrollmentEvent(Event):
    """An enrollment has changed. `revision` counts its changes from 1; a higher one is the later word."""

    enrollment_id: UUID
    student_id: UUID
    program: Program
    purchase_id: UUID | None = None
    revision: int = Field(ge=1)
    reason: str | None = Field(default=None, max_length=100)


class EnrollmentPending(EnrollmentEvent):
    """Money is on its way: an enrollment is kept, and not open yet."""

    type = "enrollment.pending.v1"


class EnrollmentActivated(EnrollmentEvent):
    """The enrollment is open."""

    type = "enrollment.activated.v1"


class EnrollmentPaused(EnrollmentEvent):
    """An installment is overdue: the enrollment rests."""

    type = "enrollment.paused.v1"


class EnrollmentResumed(EnrollmentEvent):
    """The student has caught up: the enrollment is open again."""

    type = "enrollment.resumed.v1"


class EnrollmentWithdrawn(EnrollmentEvent):
    """The money went back, or never came: there is no enrollment any more."""

    type = "enrollment.withdrawn.v1"


class EnrollmentCompleted(EnrollmentEvent):
    """The studies are done."""

    type = "enrollment.completed.v1"
