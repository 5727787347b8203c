"""Alerts: what an admin has to act on, as one mail to all admins and one post to the webhook. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from contracts.instructor_assignment import InstructorUnavailable
from contracts.milady_integration import MiladyFailed
from contracts.payments import PaymentRefunded
from ledger.purchase import CONFLICTING_STUDENTS, Standing
from notifications.enrollment import Enrollment
from notifications.message import Channel, DeliveryDelay, Message
from notifications.student_facts import PurchaseFacts

UNDELIVERED = "alert-undelivered"


def enrollment_alerts(enrollment: Enrollment, channels: Sequence[Channel]) -> Iterator[Message]:
    yield from _double_payment(enrollment, channels)
    if isinstance(enrollment.instructor, InstructorUnavailable):
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
    yield from _failed_refunds(facts, channels)
    yield from _conflicting_students(facts, channels)


def _failed_refunds(facts: PurchaseFacts, channels: Sequence[Channel]) -> Iterator[Message]:
    purchase = facts.purchase
    failed = {f.refund_id: f for f in purchase.facts if isinstance(f, PaymentRefunded) and f.status == "failed"}
    for refund_id, fact in sorted(failed.items(), key=lambda each: str(each[0])):
        yield from enrollment_alert(
            f"refund-failed/{refund_id}",
            "alert-refund-failed",
            channels,
            facts.enrollment,
            purchase_id=purchase.id,
            headline=f"A refund failed: {fact.amount or 'amount unknown'}",
            details={"Student": facts.enrollment.student_id, "Purchase": purchase.id, "Refund": refund_id},
            to_do="The money was returned to us. Ask the payer for another way to refund it.",
        )


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


def undelivered(
    *,
    key: str,
    notification_id: UUID,
    template: str,
    code: str,
    channels: Sequence[Channel],
    delay: DeliveryDelay = DeliveryDelay.NONE,
) -> list[Message]:
    """A message was not delivered, or it is unknown whether it was."""
    return list(
        alert(
            f"{key}/{notification_id}",
            UNDELIVERED,
            channels,
            facts_key=None,
            student_id=None,
            purchase_id=None,
            delay=delay,
            headline=_HEADLINES.get(code, "A message could not be delivered"),
            details={"Message": template, "Notification": str(notification_id), "Code": code},
            to_do=_TO_DO.get(code, "Fix the cause, then resend it: POST /api/admin/notifications/<id>/resend."),
            extra_context={"notification_id": str(notification_id), "code": code},
        )
    )


_HEADLINES = {
    "outcome_unknown": "A message may or may not have been delivered",
    "no_contact": "A message has no address to go to",
}
_TO_DO = {
    "outcome_unknown": "The connection was lost after the server had received the message and before it answered. Ask "
    "the recipient or check the mail server's log. If the message did not arrive, resend it: "
    "POST /api/admin/notifications/<id>/resend.",
    "no_contact": "We have no address for the recipient. Add the contact, and the message is sent automatically.",
}


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
            context={"headline": headline, "details": present, "to_do": to_do, **(extra_context or {})},
        )
