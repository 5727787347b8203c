"""Alerts: what an admin has to act on, as one mail to all admins and one post to the webhook. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from uuid import UUID

from contracts.instructor_assignment import InstructorUnavailable
from contracts.milady_integration import MiladyFailed
from ledger.purchase import CONFLICTING_STUDENTS
from ledger.standing import Standing
from notifications.enrollment import Enrollment
from notifications.message import Channel, DeliveryDelay, Message, Recipient
from notifications.student_facts import PurchaseFacts

UNDELIVERED = "alert-undelivered"


def enrollment_alerts(enrollment: Enrollment, channels: Sequence[Channel]) -> Iterator[Message]:
    yield from _double_payment(enrollment, channels)
    if isinstance(enrollment.instructor, InstructorUnavailable) and enrollment.program.taught:
        yield from enrollment_alert(
            f"instructor-unavailable/{enrollment.facts.id_of(enrollment.instructor)}",
            "alert-instructor-unavailable",
            channels,
            enrollment,
            headline=f"No instructor for {enrollment.program.title}",
            details={"Student": enrollment.student_id, "Program": enrollment.slug},
            to_do="Add an active instructor for this program, or raise an instructor's capacity. The student is then "
            "assigned and notified automatically.",
        )
    if isinstance(enrollment.milady, MiladyFailed):
        yield from enrollment_alert(
            f"milady-failed/{enrollment.facts.id_of(enrollment.milady)}",
            "alert-milady-failed",
            channels,
            enrollment,
            headline=f"Milady rejected a student of {enrollment.program.title}",
            details={
                "Student": enrollment.student_id,
                "Program": enrollment.slug,
                "Code": enrollment.milady.code,
                "Attempts": enrollment.milady.attempts,
            },
            to_do="Look the student up at Milady, correct what it rejects, and enroll the student again.",
        )


def _double_payment(enrollment: Enrollment, channels: Sequence[Channel]) -> Iterator[Message]:
    policy = enrollment.facts.policy
    if not enrollment.program.enrolls:
        return  # it may be bought again
    active = sorted(str(p.id) for p in enrollment.purchases if p.id and p.standing(policy)[0] is Standing.ACTIVE)
    if len(active) > 1:
        yield from enrollment_alert(
            f"double-payment/{enrollment.key}/{'+'.join(active)}",
            "alert-double-payment",
            channels,
            enrollment,
            headline=f"Paid twice for one enrollment: {enrollment.program.title}",
            details={"Student": enrollment.student_id, "Program": enrollment.slug, "Purchases": ", ".join(active)},
            to_do="Refund one of the purchases, unless the second payment was intended.",
        )


def purchase_alerts(facts: PurchaseFacts, channels: Sequence[Channel]) -> Iterator[Message]:
    yield from _conflicting_students(facts, channels)


def _conflicting_students(facts: PurchaseFacts, channels: Sequence[Channel]) -> Iterator[Message]:
    """Once per purchase, by whichever of its ids."""
    purchase = facts.purchase
    if purchase.id is None or purchase.standing(facts.enrollment.facts.policy)[1] != CONFLICTING_STUDENTS:
        return
    ids = {fact.purchase_id for fact in purchase.facts if fact.purchase_id}
    yield from enrollment_alert(
        f"conflicting-students/{purchase.id}",
        "alert-conflicting-students",
        channels,
        facts.enrollment,
        topics=[f"conflicting-students/{id}" for id in ids],
        purchase_id=purchase.id,
        headline=f"One purchase names several students: {facts.title}",
        details={
            "Students": ", ".join(sorted(str(student_id) for student_id in purchase.student_ids)),
            "Program": facts.title,
            "Purchase": purchase.id,
            "Payments": ", ".join(sorted(min(payment.refs) for payment in purchase.payments)),
        },
        to_do="No enrollment opens for this purchase. Find out who bought it, refund it, and sell it again to the "
        "right student.",
    )


def without_contact(
    *,
    notification_id: UUID,
    template: str,
    recipient: Recipient,
    student_id: UUID | None,
    channels: Sequence[Channel],
) -> list[Message]:
    """A message waits for an address: one alert for each student, however many messages wait."""
    to_student = recipient == "student" and student_id is not None
    to_do = _NO_STUDENT_CONTACT.format(CONTACT_ENDPOINT.format(student_id)) if to_student else _NO_SPONSOR_CONTACT
    return undelivered(
        key=f"no-contact/{student_id if to_student else notification_id}",
        notification_id=notification_id,
        template=template,
        code="no_contact",
        channels=channels,
        delay=DeliveryDelay.CONTACT,
        details={"Student": student_id},
        to_do=to_do,
    )


def undelivered(
    *,
    key: str,
    notification_id: UUID,
    template: str,
    code: str,
    channels: Sequence[Channel],
    delay: DeliveryDelay = DeliveryDelay.NONE,
    details: Mapping[str, Any] = MappingProxyType({}),
    to_do: str | None = None,
) -> list[Message]:
    """A message was not delivered, or it is unknown whether it was."""
    present = {label: str(value) for label, value in details.items() if value is not None}
    return list(
        alert(
            key,
            UNDELIVERED,
            channels,
            facts_key=None,
            student_id=None,
            purchase_id=None,
            delay=delay,
            headline=_HEADLINES.get(code, "A message could not be delivered"),
            details={"Message": template, **present, "Notification": str(notification_id), "Code": code},
            to_do=to_do or _TO_DO.get(code, _RESEND),
            extra_context={"notification_id": str(notification_id), "code": code},
        )
    )


_HEADLINES = {
    "outcome_unknown": "A message may or may not have been delivered",
    "no_contact": "A message has no address to go to",
}
_RESEND = "Fix the cause, then resend it: POST /api/admin/notifications/<id>/resend."
_TO_DO = {
    "outcome_unknown": "The connection was lost after the server had received the message and before it answered. Ask "
    "the recipient or check the mail server's log. If the message did not arrive, resend it: "
    "POST /api/admin/notifications/<id>/resend.",
}
CONTACT_ENDPOINT = "PUT /api/admin/students/{}/contact"
_NO_STUDENT_CONTACT = "We have no address for the student. Add it, and everything that waits for it is sent once: {}."
_NO_SPONSOR_CONTACT = "We have no address for the sponsor. Contact the sponsor directly; the message is sent when a "
_NO_SPONSOR_CONTACT += "payment or an invoice of the purchase has one."


def enrollment_alert(
    key: str,
    template: str,
    channels: Sequence[Channel],
    enrollment: Enrollment,
    *,
    headline: str,
    details: Mapping[str, Any],
    to_do: str,
    purchase_id: UUID | None = None,
    topics: Collection[str] = (),
) -> Iterator[Message]:
    return alert(
        key,
        template,
        channels,
        facts_key=enrollment.key,
        student_id=enrollment.student_id,
        purchase_id=purchase_id,
        headline=headline,
        details=details,
        to_do=to_do,
        topics=topics,
    )


def purchase_alert(
    key: str,
    template: str,
    channels: Sequence[Channel],
    facts: PurchaseFacts,
    *,
    headline: str,
    details: Mapping[str, Any],
    to_do: str,
    topics: Collection[str] = (),
    yields_to: Collection[str] = (),
) -> Iterator[Message]:
    """`yields_to`: topics of other alerts, which say the same."""
    purchase, enrollment = facts.purchase, facts.enrollment
    return alert(
        key,
        template,
        channels,
        facts_key=facts.key,
        student_id=enrollment.student_id,
        purchase_id=purchase.id,
        headline=headline,
        details={"Student": enrollment.student_id, "Program": facts.title, "Purchase": purchase.id, **details},
        to_do=to_do,
        topics=topics,
        yields_to=yields_to,
    )


def alert(
    key: str,
    template: str,
    channels: Sequence[Channel],
    *,
    facts_key: str | None,
    student_id: UUID | None,
    purchase_id: UUID | None,
    headline: str,
    details: Mapping[str, Any],  # label -> any value that the renderer can display; None is left out
    to_do: str,
    delay: DeliveryDelay = DeliveryDelay.LINKED_EVENTS,
    extra_context: Mapping[str, Any] | None = None,
    topics: Collection[str] = (),
    yields_to: Collection[str] = (),
) -> Iterator[Message]:
    """One message for each channel. `topics`: what the alert is about, when several keys mean the same."""
    present = {label: value for label, value in details.items() if value is not None}
    for channel in channels:
        yield Message(
            key=f"alert/{key}/{channel}",
            template=template,
            recipient="admin",
            channel=channel,
            facts_key=facts_key,
            student_id=student_id,
            purchase_id=purchase_id,
            delay=delay,
            topics=frozenset(f"alert/{topic}/{channel}" for topic in topics or (key,)),
            yields_to=frozenset(f"alert/{topic}/{channel}" for topic in yields_to),
            context={"headline": headline, "details": present, "to_do": to_do, **(extra_context or {})},
        )
