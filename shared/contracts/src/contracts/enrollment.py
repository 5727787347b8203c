"""Published by enrollment: the status of an enrollment."""

from __future__ import annotations

from uuid import UUID

from pydantic import Field

from contracts.envelope import Event
from contracts.people import Program


class EnrollmentEvent(Event):
    """`revision` increases with every change; the event with the highest one is current."""

    enrollment_id: UUID
    student_id: UUID
    program: Program
    purchase_id: UUID | None = None
    revision: int = Field(ge=1)
    reason: str | None = Field(default=None, max_length=100)


class EnrollmentPending(EnrollmentEvent):
    """A payment is being processed, or does not suffice; `reason` says so. Not active yet."""

    type = "enrollment.pending.v1"


class EnrollmentActivated(EnrollmentEvent):
    """The enrollment is active."""

    type = "enrollment.activated.v1"


class EnrollmentPaused(EnrollmentEvent):
    """An installment is past due, or the membership is paused; the enrollment is suspended."""

    type = "enrollment.paused.v1"


class EnrollmentResumed(EnrollmentEvent):
    """The student has caught up; the enrollment is active again."""

    type = "enrollment.resumed.v1"


class EnrollmentWithdrawn(EnrollmentEvent):
    """The payment failed, was refunded or was charged back, or the school ended the purchase."""

    type = "enrollment.withdrawn.v1"


class EnrollmentCompleted(EnrollmentEvent):
    """The student has completed the program."""

    type = "enrollment.completed.v1"


class EnrollmentProgressed(Event):
    """A step of the curriculum is done. `percent` of all steps, rounded down; it never decreases."""

    type = "enrollment.progressed.v1"
    enrollment_id: UUID
    student_id: UUID
    program_slug: str = Field(min_length=1, max_length=200)
    percent: int = Field(ge=0, le=100)
