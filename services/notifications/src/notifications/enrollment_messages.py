"""Mails about an enrollment: the welcome, later additions to it, and each change of the enrollment. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal
from uuid import UUID

from contracts.enrollment import (
    EnrollmentActivated,
    EnrollmentEvent,
    EnrollmentPaused,
    EnrollmentResumed,
    EnrollmentWithdrawn,
)
from contracts.instructor_assignment import InstructorAssigned
from contracts.milady_integration import MiladyEnrolled
from contracts.money import Money
from contracts.payments import PurchaseEnded
from ledger.purchase import Purchase, Standing
from notifications.enrollment import Enrollment
from notifications.failures import failure_context, pause_cause_topic, pause_topics, pay_url
from notifications.message import DeliveryDelay, Message

_NEVER_OPENED = "payment_failed"
"""Why a pending enrollment is withdrawn; the mail about the failed payment is enough."""


def enrollment_messages(enrollment: Enrollment) -> Iterator[Message]:
    latest = enrollment.latest
    if latest is None or enrollment.contradicted:
        return
    if enrollment.is_open and any(isinstance(e, (EnrollmentActivated, EnrollmentResumed)) for e in enrollment.history):
        yield from _opened(enrollment)
    verdict = enrollment.settled_verdict
    reason = (verdict.reason if verdict else None) or latest.reason
    match latest:
        case EnrollmentPaused():
            yield _paused(enrollment, latest, reason)
        case EnrollmentResumed():
            yield _change(enrollment, latest, "enrollment-resumed")
        case EnrollmentWithdrawn() if latest.reason != _NEVER_OPENED:
            context = {"reason": reason, **_cancellation_context(enrollment, reason)}
            yield _change(enrollment, latest, "enrollment-withdrawn", context=context)
        case _:
            pass


def _paused(enrollment: Enrollment, event: EnrollmentEvent, reason: str | None) -> Message:
    """Also explains the failed payment that caused the pause: the student gets one mail about both."""
    missed = enrollment.past_due if reason == "past_due" else ()
    policy = enrollment.facts.policy
    stopped = [p for p in enrollment.purchases if p.standing(policy) == (Standing.PAUSED, "plan_canceled")]
    behind = [p for p in enrollment.purchases if any(payment in missed for payment in p.past_due)]
    payers = {enrollment.payer(purchase) for purchase in (behind if reason == "past_due" else stopped)}
    context = {
        "reason": reason,
        "payer": "sponsor" if payers == {"sponsor"} else "student",
        "missed": failure_context(enrollment, missed[0]) if len(missed) == 1 else None,
        "pay_url": None if "sponsor" in payers else pay_url(missed),
        "reopens": not missed or enrollment.would_be_open(missed),
        "remaining": _remaining(stopped),
    }
    explained = frozenset[str]().union(*(pause_topics(payment) for payment in missed))
    return _change(
        enrollment,
        event,
        "enrollment-paused",
        context=context,
        also_covers=explained if missed else pause_cause_topic(enrollment),
    )


def _remaining(stopped: Sequence[Purchase]) -> Money | None:
    """The unpaid part of the price of a plan that ended early; None if the price is not on record."""
    if len(stopped) != 1 or (price := stopped[0].price) is None:
        return None
    return Money(amount=price.amount - stopped[0].paid.get(price.currency, 0), currency=price.currency)


def _cancellation_context(enrollment: Enrollment, reason: str | None) -> dict[str, Any]:
    """The school's reason for a cancellation, and what has been refunded so far."""
    if reason != "canceled":
        return {"cancellation_reason": None, "refunds": []}
    canceled = [purchase for purchase in enrollment.purchases if purchase.ended]
    events = [fact for p in canceled for fact in p.facts if isinstance(fact, PurchaseEnded)]
    refunded: Counter[str] = Counter()
    for purchase in canceled:
        refunded.update(purchase.refunded)
    return {
        "cancellation_reason": max(events, key=enrollment.facts.order_of).reason if events else None,
        "refunds": [Money(amount=amount, currency=code) for code, amount in sorted(refunded.items()) if amount > 0],
    }


def _opened(enrollment: Enrollment) -> Iterator[Message]:
    """The welcome; or, for a student who was welcomed before the enrollment was withdrawn, that it is open again.

    Both include the instructor and the course links. What becomes available only later follows in a mail of its own.
    """
    latest = enrollment.history[-1]
    enrollment_id = latest.enrollment_id
    welcome = f"welcome:{enrollment_id}"
    opening = welcome
    covered = _instructor_topic(enrollment) | _links_topic(enrollment)
    context = {**_instructor_context(enrollment), **_links_context(enrollment)}
    delay = DeliveryDelay.NONE if enrollment.assignments_complete else DeliveryDelay.ASSIGNMENTS
    reopened = _reopened(enrollment)
    if reopened:
        opening = f"reopened:{enrollment_id}/{reopened.revision}"
        yield _message(
            enrollment,
            key=f"enrollment-reopened/{enrollment_id}/{reopened.revision}",
            template="enrollment-reopened",
            purchase_id=reopened.purchase_id,
            delay=delay,
            topics=frozenset((opening,)),
            after=frozenset((welcome,)),
            also_covers=covered,
            context=context,
        )
    yield _message(
        enrollment,
        key=f"welcome/{enrollment_id}",
        template="welcome",
        purchase_id=latest.purchase_id,
        delay=delay,
        topics=frozenset((welcome,)),
        also_covers=covered | ({opening} - {welcome}),
        context=context,
    )
    for topics, template, addition in (
        (_instructor_topic(enrollment), "instructor", _instructor_context(enrollment)),
        (_links_topic(enrollment), "course-links", _links_context(enrollment)),
    ):
        for topic in topics:
            yield _message(
                enrollment,
                key=f"{template}/{enrollment_id}/{topic.partition(':')[2]}",
                template=template,
                purchase_id=latest.purchase_id,
                topics=frozenset((topic,)),
                after=frozenset((welcome, opening)),
                context=addition,
            )


def _reopened(enrollment: Enrollment) -> EnrollmentEvent | None:
    """The latest activation, if a withdrawal came before it."""
    activations = [event for event in enrollment.history if isinstance(event, EnrollmentActivated)]
    if not activations:
        return None
    withdrawals = (
        event
        for event in enrollment.history
        if isinstance(event, EnrollmentWithdrawn) and event.reason != _NEVER_OPENED
    )
    return activations[-1] if any(event.revision < activations[-1].revision for event in withdrawals) else None


def _change(
    enrollment: Enrollment,
    event: EnrollmentEvent,
    template: Literal["enrollment-paused", "enrollment-resumed", "enrollment-withdrawn"],
    *,
    context: Mapping[str, Any] = MappingProxyType({}),
    also_covers: frozenset[str] = frozenset(),
) -> Message:
    """Each change of the enrollment once, unless a later one is on record."""
    key = f"{template}/{event.enrollment_id}/{event.revision}"
    return _message(
        enrollment,
        key=key,
        template=template,
        purchase_id=event.purchase_id,
        topics=frozenset((key,)),
        also_covers=also_covers,
        context={"slug": enrollment.slug, **context},
    )


def _message(
    enrollment: Enrollment,
    *,
    key: str,
    template: str,
    purchase_id: UUID | None,
    topics: frozenset[str],
    context: Mapping[str, Any],
    delay: DeliveryDelay = DeliveryDelay.NONE,
    after: frozenset[str] = frozenset(),
    also_covers: frozenset[str] = frozenset(),
) -> Message:
    return Message(
        key=key,
        template=template,
        recipient="student",
        facts_key=enrollment.key,
        student_id=enrollment.student_id,
        purchase_id=purchase_id,
        contact=enrollment.student_contact,
        delay=delay,
        topics=topics,
        after=after,
        also_covers=also_covers,
        context={
            "program": enrollment.program.title,
            "noun": enrollment.noun,
            "kind": enrollment.program.kind or "program",
            "taught": enrollment.program.taught,
            "tier": enrollment.tier,
            "enrollments": [],
            **context,
        },
    )


def _instructor_context(enrollment: Enrollment) -> dict[str, Any]:
    event = enrollment.instructor
    if not isinstance(event, InstructorAssigned) or not enrollment.program.taught:
        return {"instructor": None}
    return {"instructor": {"name": event.instructor.name, "specialty": event.instructor.specialty}}


def _instructor_topic(enrollment: Enrollment) -> frozenset[str]:
    event = enrollment.instructor
    if isinstance(event, InstructorAssigned) and enrollment.program.taught:
        return frozenset((f"instructor:{event.assignment_id}",))
    return frozenset()


def _links_context(enrollment: Enrollment) -> dict[str, Any]:
    """Web pages only: the links come from outside and may have any scheme."""
    if not isinstance(enrollment.milady, MiladyEnrolled):
        return {"links": []}
    pages = [link for link in enrollment.milady.links if link.url.startswith(("https://", "http://"))]
    return {"links": [{"title": link.title, "url": link.url} for link in pages]}


def _links_topic(enrollment: Enrollment) -> frozenset[str]:
    if isinstance(enrollment.milady, MiladyEnrolled) and _links_context(enrollment)["links"]:
        return frozenset((f"links:{enrollment.milady.milady_enrollment_id}",))
    return frozenset()
