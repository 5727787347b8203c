"""How an enrollment follows the facts. Pure: facts, policy and rows in; rows and events out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

from contracts.enrollment import (
    EnrollmentActivated,
    EnrollmentCompleted,
    EnrollmentEvent,
    EnrollmentPaused,
    EnrollmentPending,
    EnrollmentResumed,
    EnrollmentWithdrawn,
)
from contracts.people import ItemKind, Program
from ledger.facts import Facts
from ledger.policy import Policy
from ledger.purchase import CONFLICTING_STUDENTS, PAYMENT_FAILED, Purchase
from ledger.standing import Standing
from ledger.verdict import SUPERSEDED, Verdict, verdicts

PaymentStatus = Literal["pending", "paid", "waived"]
Source = Literal["application", "case_manager", "employer", "self_enroll"]

_NEVER_OPENED = frozenset({SUPERSEDED, PAYMENT_FAILED})
"""Such an enrollment was never announced, so its end is not published."""
_EMPLOYER_FUNDED = frozenset({"OJT", "WEX", "EMPLOYER"})


class Status(StrEnum):
    PENDING = "pending"
    ACTIVE = "active"
    COMPLETED = "completed"
    WITHDRAWN = "withdrawn"
    PAUSED = "paused"


_STATUS_OF = {
    Standing.PENDING: Status.PENDING,
    Standing.ACTIVE: Status.ACTIVE,
    Standing.PAUSED: Status.PAUSED,
    Standing.WITHDRAWN: Status.WITHDRAWN,
}


@dataclass(frozen=True, kw_only=True)
class Enrollment:
    """A row of `enrollments`.

    track:        the slug, when it is one
    tier:         what a membership gives access to
    enrolled_at:  when the money was received that opened it; None before
    completed_at: when the last step of the track was done; the row is completed for as long as its money stays
    revision:     counts the published changes
    """

    id: UUID
    student_id: UUID
    program_slug: str
    program_id: str
    program_name: str
    provider: str | None
    kind: ItemKind
    track: str | None
    tier: str | None
    status: Status
    reason: str | None
    payment_status: PaymentStatus
    source: Source
    purchase_id: UUID | None
    funding_source: str | None
    enrolled_at: datetime | None = None
    completed_at: datetime | None = None
    revision: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", Status(self.status))  # the database returns text

    @property
    def program(self) -> Program:
        return Program(
            slug=self.program_slug, id=self.program_id, name=self.program_name, provider=self.provider, kind=self.kind
        )


def wanted(facts: Facts, policy: Policy) -> Mapping[UUID, Enrollment]:
    """The row for every pair of student and program that the facts ever named, once a payment was started."""
    return {
        verdict.enrollment_id: _enrollment(verdict, status)
        for verdict in verdicts(facts, policy).values()
        if (status := _STATUS_OF.get(verdict.standing)) is not None
    }


def becomes(before: Enrollment | None, wanted: Enrollment) -> Enrollment:
    """The row after the facts; completion and revision, which the facts do not decide, are kept."""
    after = wanted if before is None else replace(wanted, completed_at=before.completed_at, revision=before.revision)
    if after.completed_at is not None and after.status in (Status.ACTIVE, Status.PAUSED):
        after = replace(after, status=Status.COMPLETED, reason=None)
    return after if event_type(before, after) is None else replace(after, revision=after.revision + 1)


def complete(before: Enrollment, *, at: datetime) -> Enrollment:
    """The last step of the track is done."""
    return replace(before, status=Status.COMPLETED, reason=None, completed_at=at, revision=before.revision + 1)


def event_type(before: Enrollment | None, after: Enrollment) -> type[EnrollmentEvent] | None:
    """The event that the change is published as. None if the status stays, and for what was never announced."""
    published = before is not None and before.revision > 0
    if before is not None and published and before.status is after.status:
        return EnrollmentPending if after.status is Status.PENDING and after.reason != before.reason else None
    match after.status:
        case Status.PENDING:
            return EnrollmentPending if published or after.reason != CONFLICTING_STUDENTS else None
        case Status.ACTIVE:
            return EnrollmentResumed if before is not None and before.status is Status.PAUSED else EnrollmentActivated
        case Status.PAUSED:
            return EnrollmentPaused
        case Status.WITHDRAWN:
            never = after.reason in _NEVER_OPENED if before is None else not published
            return None if never else EnrollmentWithdrawn
        case Status.COMPLETED:
            return EnrollmentCompleted  # also when it is paid again after a refund


def event(before: Enrollment | None, after: Enrollment) -> EnrollmentEvent | None:
    event = event_type(before, after)
    if event is None:
        return None
    return event(
        enrollment_id=after.id,
        student_id=after.student_id,
        program=after.program,
        purchase_id=after.purchase_id,
        revision=after.revision,
        reason=after.reason,
    )


def _enrollment(verdict: Verdict, status: Status) -> Enrollment:
    program, purchase = verdict.program, verdict.purchase
    return Enrollment(
        id=verdict.enrollment_id,
        student_id=verdict.student_id,
        program_slug=program.slug,
        program_id=program.id,
        program_name=program.title,
        provider=program.provider,
        kind=program.kind or "program",
        track=program.slug if program.kind == "track" else None,
        tier=_tier(program, purchase),
        status=status,
        reason=verdict.reason,
        payment_status=_payment_status(verdict),
        source=_source(purchase),
        purchase_id=purchase.id,
        funding_source=purchase.funding_source,
        enrolled_at=purchase.received_at if status in (Status.ACTIVE, Status.PAUSED) else None,
    )


def _tier(program: Program, purchase: Purchase) -> str | None:
    subscription = purchase.subscription if program.kind == "membership" else None
    return subscription.tier if subscription else None


def _payment_status(verdict: Verdict) -> PaymentStatus:
    if verdict.purchase.underpaid or not verdict.purchase.settled_payments:
        return "pending"
    return "waived" if verdict.purchase.waived else "paid"


def _source(purchase: Purchase) -> Source:
    if (purchase.funding_source or "").upper() in _EMPLOYER_FUNDED:
        return "employer"
    return "case_manager" if purchase.funding_source or purchase.payer == "sponsor" else "self_enroll"
