"""Mails about an enrollment: the welcome, later additions to it, and each change of the enrollment. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal
from uuid import UUID

from contracts.enrollment import (
    EnrollmentActivated,
    EnrollmentCompleted,
    EnrollmentEvent,
    EnrollmentPaused,
    EnrollmentResumed,
    EnrollmentWithdrawn,
)
from contracts.instructor_assignment import InstructorAssigned, InstructorUnavailable
from contracts.milady_integration import MiladyEnrolled
from contracts.money import Money
from ledger.payment import Payment
from ledger.purchase import Purchase
from ledger.standing import Standing
from notifications.enrollment import Enrollment, is_owed_again
from notifications.failures import failure_context, page_of, pause_cause_topic, pause_return_topic, pause_topics
from notifications.message import DeliveryDelay, Message
from notifications.refunds import REFUNDED, end_topics, ended_by_refund

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
        case EnrollmentCompleted():
            yield _completed(enrollment, latest)
        case EnrollmentWithdrawn() if latest.reason != _NEVER_OPENED:
            yield _withdrawn(enrollment, latest, reason)
        case _:
            pass


def _paused(enrollment: Enrollment, event: EnrollmentEvent, reason: str | None) -> Message:
    """Also explains the failed or returned payment that caused the pause: the student gets one mail about both."""
    missed = enrollment.past_due if reason == "past_due" else ()
    policy = enrollment.facts.policy
    stopped = [p for p in enrollment.purchases if p.standing(policy) == (Standing.PAUSED, "plan_canceled")]
    behind = [p for p in enrollment.purchases if any(payment in missed for payment in p.past_due)]
    causes = behind if reason == "past_due" else stopped
    of_missed = {
        enrollment.payer(purchase, each) for purchase in causes for each in purchase.past_due if each in missed
    }
    payers = of_missed or {enrollment.payer(purchase) for purchase in causes}
    links = [created.checkout_url for purchase in causes if (created := enrollment.created_event(purchase))]
    page = _page(enrollment, missed) or (links[0] if len(links) == 1 else None)
    context = {
        "reason": reason,
        "payer": "sponsor" if payers == {"sponsor"} else "student",
        "missed": failure_context(enrollment, missed[0]) if len(missed) == 1 else None,
        "pay_url": None if "sponsor" in payers else page,
        "reopens": not missed or enrollment.would_be_open(missed),
        "plan_ended": any(purchase.subscription_ended for purchase in behind),
        "remaining": _remaining(stopped),
        "resumes_at": _resumes_at(enrollment) if reason == "membership_paused" else None,
    }
    explained = frozenset[str]().union(*(pause_topics(payment) for payment in missed))
    if not missed:
        explained |= pause_cause_topic(enrollment)
    if not missed or any(payment.lost or is_owed_again(payment) for payment in missed):
        explained |= pause_return_topic(enrollment)
    return _change(
        enrollment,
        event,
        "enrollment-paused",
        context=context,
        also_covers=explained,
    )


def _page(enrollment: Enrollment, missed: Sequence[Payment]) -> str | None:
    """Where it can be paid, if only one is owed."""
    return page_of(enrollment.facts, missed[0]) if len(missed) == 1 else None


def _remaining(stopped: Sequence[Purchase]) -> Money | None:
    """The unpaid part of the price of a plan that ended early; None if the price is not on record."""
    if len(stopped) != 1 or (price := stopped[0].price) is None:
        return None
    return Money(amount=price.amount - stopped[0].value, currency=price.currency)


def _resumes_at(enrollment: Enrollment) -> datetime | None:
    """When a paused membership continues by itself; None: when the student resumes it."""
    states = [purchase.subscription for purchase in enrollment.purchases]
    return max((state.resumes_at for state in states if state and state.resumes_at), default=None)


def _completed(enrollment: Enrollment, event: EnrollmentEvent) -> Message:
    """Once. (Enrollment publishes it again if a completed enrollment is paid again after a refund.)"""
    return _message(
        enrollment,
        key=f"enrollment-completed/{event.enrollment_id}",
        template="enrollment-completed",
        purchase_id=event.purchase_id,
        topics=frozenset((f"completed:{event.enrollment_id}",)),
        context={},
    )


def _withdrawn(enrollment: Enrollment, event: EnrollmentEvent, reason: str | None) -> Message:
    """Who ended it and why, and what has been refunded so far. A refund that ends it says so in its own mail."""
    policy = enrollment.facts.policy
    ended = [p for p in enrollment.purchases if p.ended and p.standing(policy)[1] == reason]
    last = max((p.ended for p in ended if p.ended), key=enrollment.facts.order_of, default=None)
    by_refund = last is not None and last.by == "school" and last.reason == REFUNDED
    refunded: Counter[str] = Counter()
    for purchase in ended:
        refunded.update(purchase.refunded)
    return _change(
        enrollment,
        event,
        "enrollment-withdrawn",
        context={
            "reason": reason,
            "ended_by": "refund" if by_refund else last.by if last else None,
            "ended_because": last.reason if last and last.by == "school" and not by_refund else None,
            "refunds": [Money(amount=amount, currency=code) for code, amount in sorted(refunded.items()) if amount > 0],
        },
        delay=DeliveryDelay.REFUND if ended_by_refund(enrollment) else DeliveryDelay.NONE,
        yields_to=end_topics(enrollment),
    )


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
    delay: DeliveryDelay = DeliveryDelay.NONE,
    yields_to: frozenset[str] = frozenset(),
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
        delay=delay,
        yields_to=yields_to,
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
    yields_to: frozenset[str] = frozenset(),
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
        yields_to=yields_to,
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
    """`awaits_instructor`: all are busy, and one is assigned as soon as there is one."""
    event, taught = enrollment.instructor, enrollment.program.taught
    if not isinstance(event, InstructorAssigned) or not taught:
        return {"instructor": None, "awaits_instructor": taught and isinstance(event, InstructorUnavailable)}
    instructor = {"name": event.instructor.name, "specialty": event.instructor.specialty}
    return {"instructor": instructor, "awaits_instructor": False}


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
