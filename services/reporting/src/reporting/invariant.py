"""The invariant: paid <=> enrolled <=> instructor, where it is taught <=> provider, where there is one <=> notified <=>
booked <=> Stripe agrees. Derived from a student's events alone. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, get_args
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
from contracts.reconciliation import ReconciliationDifference, ReconciliationDifferenceFound
from ledger.payment import EARLIEST
from ledger.policy import DEFAULT_POLICY, Policy
from ledger.standing import Standing
from ledger.verdict import Verdict, verdicts

Part = Literal["enrolled", "instructor", "provider", "notified", "booked", "stripe"]
PARTS: tuple[Part, ...] = get_args(Part)

MILADY = "milady"
_AT_STRIPE = ("pi_", "ch_", "py_", "in_")
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
    stripe: timedelta


@dataclass(frozen=True, kw_only=True)
class ReceivedEvent:
    """An event, and when reporting received it."""

    id: str
    received_at: datetime
    data: Event


@dataclass(frozen=True, kw_only=True)
class Break:
    """One part that does not hold. `since`: when the latest payment event about it was received, or the difference.

    student_id, program_slug: None if Stripe has money that belongs to no purchase
    event_ids:                from which the part would follow, if its service has not received one of them. Empty if
                              the service has said why, and where no service has to do something
    """

    student_id: UUID | None
    purchase_id: UUID | None
    program_slug: str | None
    part: Part
    cause: str
    since: datetime
    event_ids: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class _Cause:
    """Why a part does not hold. `stated`: its service has said so, so it has received what it needs."""

    part: Part
    text: str
    stated: bool = False


@dataclass(frozen=True)
class Compared:
    """The periods of which every object at Stripe was compared with what was published."""

    periods: tuple[tuple[datetime, datetime], ...] = ()

    def contains(self, at: datetime) -> bool:
        return any(since <= at < through for since, through in self.periods)


NEVER = Compared()


def breaks(
    events: Sequence[ReceivedEvent],
    *,
    now: datetime,
    deadlines: Deadlines,
    policy: Policy = DEFAULT_POLICY,
    compared: Compared = NEVER,
) -> list[Break]:
    """Of one student, given all events that name the student or one of the student's payments."""
    facts = {event.id: event.data for event in events if isinstance(event.data, PaymentEvent)}
    received_at = {id(event.data): event.received_at for event in events}
    found = []
    of_student = verdicts(facts, policy)
    for verdict in of_student.values():
        since = max(received_at[id(fact)] for purchase in verdict.purchases for fact in purchase.facts)
        causes = [(cause, since) for cause in _causes(verdict, [event.data for event in events])]
        causes += [(_Cause("stripe", text), since) for text in _not_compared(verdict, compared, since)]
        late = [(cause, at) for cause, at in causes if now - at > getattr(deadlines, cause.part)]
        late += [(_Cause("stripe", text), at) for text, at in _differences(verdict, events)]
        found += [
            Break(
                student_id=verdict.student_id,
                purchase_id=verdict.purchase.id,
                program_slug=verdict.program.slug,
                part=cause.part,
                cause=cause.text,
                since=at,
                event_ids=_needed(cause, verdict, events),
            )
            for cause, at in late
        ]
    return found + _unpaid(events, {verdict.enrollment_id for verdict in of_student.values()}, now, deadlines)


def _unpaid(
    events: Sequence[ReceivedEvent], known: Collection[UUID], now: datetime, deadlines: Deadlines
) -> list[Break]:
    """Enrollments that no payment event names."""
    latest: dict[UUID, tuple[EnrollmentEvent, datetime]] = {}
    for each in events:
        if isinstance(each.data, EnrollmentEvent) and each.data.enrollment_id not in known:
            before = latest.get(each.data.enrollment_id)
            if before is None or before[0].revision < each.data.revision:
                latest[each.data.enrollment_id] = each.data, each.received_at
    return [
        Break(
            student_id=event.student_id,
            purchase_id=event.purchase_id,
            program_slug=event.program.slug,
            part="enrolled",
            cause=f"no payment is known, enrollment says {event.type}",
            since=at,
        )
        for event, at in latest.values()
        if isinstance(event, _EXPECTED[Standing.ACTIVE]) and now - at > deadlines.enrolled
    ]


def _causes(verdict: Verdict, events: Sequence[Event]) -> Iterator[_Cause]:
    yield from (_Cause("enrolled", text) for text in _enrolled(verdict, events))
    yield from _instructor(verdict, events)
    yield from _provider(verdict, events)
    yield from _notified(verdict, events)
    yield from (_Cause("booked", text) for text in _booked(verdict, events))


def _needed(cause: _Cause, verdict: Verdict, events: Iterable[ReceivedEvent]) -> tuple[str, ...]:
    """The events from which the part follows: the payment events, and for mails the enrollment's as well."""
    if cause.stated or cause.part == "stripe":
        return ()
    payments = {id(fact) for purchase in verdict.purchases for fact in purchase.facts}
    return tuple(
        sorted({each.id for each in events if id(each.data) in payments or _is_for_mail(cause, verdict, each)})
    )


def _is_for_mail(cause: _Cause, verdict: Verdict, event: ReceivedEvent) -> bool:
    of_enrollment = isinstance(event.data, EnrollmentEvent) and event.data.enrollment_id == verdict.enrollment_id
    return cause.part == "notified" and of_enrollment


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


def _instructor(verdict: Verdict, events: Iterable[Event]) -> Iterator[_Cause]:
    pair = verdict.student_id, verdict.program.slug
    own = [
        each for each in events if isinstance(each, InstructorEvent) and (each.student_id, each.program.slug) == pair
    ]
    # a change of the instructor is a release and an assignment of the same revision
    latest = max(own, key=lambda each: (each.revision, isinstance(each, InstructorAssigned)), default=None)
    assigned = isinstance(latest, InstructorAssigned)
    if verdict.standing is Standing.ACTIVE and verdict.program.taught and not assigned:
        none_free = isinstance(latest, InstructorUnavailable)
        text = "no instructor has capacity" if none_free else "no instructor was assigned"
        yield _Cause("instructor", text, stated=none_free)
    if verdict.standing is Standing.WITHDRAWN and assigned:
        yield _Cause("instructor", "the instructor was not released")


def _provider(verdict: Verdict, events: Iterable[Event]) -> Iterator[_Cause]:
    if verdict.program.provider != MILADY:
        return
    pair = verdict.student_id, verdict.program.slug
    own = [each for each in events if isinstance(each, MiladyEvent) and (each.student_id, each.program.slug) == pair]
    latest = max(own, key=lambda each: each.revision, default=None)
    enrolled = isinstance(latest, MiladyEnrolled)
    if verdict.standing is Standing.ACTIVE and not enrolled:
        failed = latest.code if isinstance(latest, MiladyFailed) else None
        text = f"the provider has refused: {failed}" if failed else "the provider has not enrolled the student"
        yield _Cause("provider", text, stated=failed is not None)
    if verdict.standing is Standing.WITHDRAWN and enrolled:
        yield _Cause("provider", "the provider has not withdrawn the student")


def _notified(verdict: Verdict, events: Iterable[Event]) -> Iterator[_Cause]:
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
    text = f"the welcome mail has failed: {failed}" if failed else "no welcome mail was sent"
    yield _Cause("notified", text, stated=failed is not None)


def _booked(verdict: Verdict, events: Iterable[Event]) -> Iterator[str]:
    receipts = [each.refs.of_payment() for each in events if isinstance(each, ReceiptIssued) and each.kind == "receipt"]
    for payment in verdict.purchase.settled_payments:
        if payment.settled and payment.settled.amount > 0 and not any(refs & payment.refs for refs in receipts):
            yield f"no receipt was issued for {min(payment.refs, default='a payment')}"


def _not_compared(verdict: Verdict, compared: Compared, since: datetime) -> Iterator[str]:
    """`since`: counts for a payment whose events do not say when it was received."""
    for payment in verdict.purchase.settled_payments:
        at_stripe = sorted(ref for ref in payment.refs if ref.startswith(_AT_STRIPE))
        at = payment.received_at if payment.received_at > EARLIEST else since
        if at_stripe and not compared.contains(at):
            yield f"{at_stripe[0]} was not compared with Stripe"


def _differences(verdict: Verdict, events: Iterable[ReceivedEvent]) -> Iterator[tuple[str, datetime]]:
    """What differs from Stripe now, and since when."""
    ids = {purchase.id for purchase in verdict.purchases}
    refs = frozenset().union(*(payment.refs for purchase in verdict.purchases for payment in purchase.payments))
    about = [
        each
        for each in events
        if isinstance(each.data, ReconciliationDifference)
        and (each.data.purchase_id in ids or {each.data.object_id, *each.data.refs.of_payment()} & refs)
    ]
    for difference, at in open_differences(about):
        yield description(difference), at


def open_differences(events: Iterable[ReceivedEvent]) -> list[tuple[ReconciliationDifference, datetime]]:
    """The latest event of each difference that is not resolved, and when it was received."""
    latest: dict[tuple[str, str, str], tuple[ReconciliationDifference, datetime]] = {}
    for each in events:
        if isinstance(each.data, ReconciliationDifference):
            key = difference_key(each.data)
            if key not in latest or latest[key][0].revision < each.data.revision:
                latest[key] = each.data, each.received_at
    return [each for each in latest.values() if isinstance(each[0], ReconciliationDifferenceFound)]


def difference_key(difference: ReconciliationDifference) -> tuple[str, str, str]:
    return difference.object_kind, difference.object_id, difference.field


def description(difference: ReconciliationDifference) -> str:
    """Both sides."""
    at_stripe, published = difference.stripe or "nothing", difference.published or "nothing"
    return f"{difference.object_id}: {difference.field} is {at_stripe} at Stripe, and {published} was published"
