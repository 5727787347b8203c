"""The invariant: paid <=> enrolled <=> instructor, where it is taught <=> provider, where there is one <=> notified <=>
booked. Derived from a student's events alone. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from contracts.checkout import ReceiptIssued
from contracts.enrollment import (
    EnrollmentActivated,
    EnrollmentCompleted,
    EnrollmentEvent,
    EnrollmentPaused,
    EnrollmentPending,
    EnrollmentResumed,
    EnrollmentWithdrawn,
)
from contracts.envelope import Event
from contracts.instructor_assignment import InstructorAssigned, InstructorEvent, InstructorUnavailable
from contracts.milady_integration import MiladyEnrolled, MiladyEvent, MiladyFailed
from contracts.notifications import NotificationEvent, NotificationFailed, NotificationSent
from contracts.payments import PaymentEvent
from ledger.policy import DEFAULT_POLICY, Policy
from ledger.standing import Standing
from ledger.verdict import Verdict, verdicts

Part = Literal["enrolled", "instructor", "provider", "notified", "booked"]

MILADY = "milady"
OPENING_TEMPLATES = frozenset({"welcome", "enrollment-reopened"})
_EXPECTED: dict[Standing, tuple[type[EnrollmentEvent], ...]] = {
    Standing.ACTIVE: (EnrollmentActivated, EnrollmentResumed, EnrollmentCompleted),
    Standing.PAUSED: (EnrollmentPaused, EnrollmentCompleted),
    Standing.PENDING: (EnrollmentPending,),
    Standing.WITHDRAWN: (EnrollmentWithdrawn,),
}


@dataclass(frozen=True, kw_only=True)
class Deadlines:
    """How long each part may take after the latest payment event."""

    enrolled: timedelta
    instructor: timedelta
    provider: timedelta
    notified: timedelta
    booked: timedelta


@dataclass(frozen=True, kw_only=True)
class ReceivedEvent:
    """An event, and when reporting received it."""

    id: str
    received_at: datetime
    data: Event


@dataclass(frozen=True, kw_only=True)
class Break:
    """One part that does not hold. `since`: when the latest payment event about it was received."""

    student_id: UUID
    purchase_id: UUID | None
    program_slug: str
    part: Part
    cause: str
    since: datetime


def breaks(
    events: Sequence[ReceivedEvent], *, now: datetime, deadlines: Deadlines, policy: Policy = DEFAULT_POLICY
) -> list[Break]:
    """Of one student, given all events that name the student or one of the student's payments."""
    facts = {event.id: event.data for event in events if isinstance(event.data, PaymentEvent)}
    received_at = {id(event.data): event.received_at for event in events}
    found = []
    for verdict in verdicts(facts, policy).values():
        since = max(received_at[id(fact)] for purchase in verdict.purchases for fact in purchase.facts)
        for part, cause in _causes(verdict, [event.data for event in events]):
            if now - since > getattr(deadlines, part):
                found.append(
                    Break(
                        student_id=verdict.student_id,
                        purchase_id=verdict.purchase.id,
                        program_slug=verdict.program.slug,
                        part=part,
                        cause=cause,
                        since=since,
                    )
                )
    return found


def _causes(verdict: Verdict, events: Sequence[Event]) -> Iterator[tuple[Part, str]]:
    yield from (("enrolled", cause) for cause in _enrolled(verdict, events))
    yield from (("instructor", cause) for cause in _instructor(verdict, events))
    yield from (("provider", cause) for cause in _provider(verdict, events))
    yield from (("notified", cause) for cause in _notified(verdict, events))
    yield from (("booked", cause) for cause in _booked(verdict, events))


def _enrolled(verdict: Verdict, events: Iterable[Event]) -> Iterator[str]:
    own = [each for each in events if isinstance(each, EnrollmentEvent) and each.enrollment_id == verdict.enrollment_id]
    latest = max(own, key=lambda each: each.revision, default=None)
    if latest is None:
        if verdict.standing in (Standing.ACTIVE, Standing.PAUSED):
            yield f"the payments say {verdict.standing}, and enrollment has published nothing"
        return
    expected = _EXPECTED.get(verdict.standing)
    if expected is not None and not isinstance(latest, expected):
        yield f"the payments say {verdict.standing}, enrollment says {latest.type}"


def _instructor(verdict: Verdict, events: Iterable[Event]) -> Iterator[str]:
    pair = verdict.student_id, verdict.program.slug
    own = [
        each for each in events if isinstance(each, InstructorEvent) and (each.student_id, each.program.slug) == pair
    ]
    # a change of the instructor is a release and an assignment of the same revision
    latest = max(own, key=lambda each: (each.revision, isinstance(each, InstructorAssigned)), default=None)
    assigned = isinstance(latest, InstructorAssigned)
    if verdict.standing is Standing.ACTIVE and verdict.program.taught and not assigned:
        none_free = isinstance(latest, InstructorUnavailable)
        yield "no instructor has capacity" if none_free else "no instructor was assigned"
    if verdict.standing is Standing.WITHDRAWN and assigned:
        yield "the instructor was not released"


def _provider(verdict: Verdict, events: Iterable[Event]) -> Iterator[str]:
    if verdict.program.provider != MILADY:
        return
    pair = verdict.student_id, verdict.program.slug
    own = [each for each in events if isinstance(each, MiladyEvent) and (each.student_id, each.program.slug) == pair]
    latest = max(own, key=lambda each: each.revision, default=None)
    enrolled = isinstance(latest, MiladyEnrolled)
    if verdict.standing is Standing.ACTIVE and not enrolled:
        failed = latest.code if isinstance(latest, MiladyFailed) else None
        yield f"the provider has refused: {failed}" if failed else "the provider has not enrolled the student"
    if verdict.standing is Standing.WITHDRAWN and enrolled:
        yield "the provider has not withdrawn the student"


def _notified(verdict: Verdict, events: Iterable[Event]) -> Iterator[str]:
    if verdict.standing is not Standing.ACTIVE:
        return
    about = [
        each
        for each in events
        if isinstance(each, NotificationEvent)
        and each.template in OPENING_TEMPLATES
        and each.purchase_id in (None, *(purchase.id for purchase in verdict.purchases))
    ]
    if any(isinstance(each, NotificationSent) for each in about):
        return
    failed = next((each.code for each in about if isinstance(each, NotificationFailed)), None)
    yield f"the welcome mail has failed: {failed}" if failed else "no welcome mail was sent"


def _booked(verdict: Verdict, events: Iterable[Event]) -> Iterator[str]:
    receipts = [each.refs.of_payment() for each in events if isinstance(each, ReceiptIssued) and each.kind == "receipt"]
    for payment in verdict.purchase.settled_payments:
        if payment.settled and payment.settled.amount > 0 and not any(refs & payment.refs for refs in receipts):
            yield f"no receipt was issued for {min(payment.refs, default='a payment')}"
