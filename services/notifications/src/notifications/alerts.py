"""Alerts: what an admin has to look at. One mail to all admins and one post to the webhook for each. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from contracts.instructor_assignment import InstructorUnavailable
from contracts.milady_integration import MiladyFailed
from contracts.payments import PaymentRefunded
from ledger.policy import Policy
from ledger.purchase import Standing
from notifications.known import Bought, Place
from notifications.message import Channel, Hold, Message

UNDELIVERED = "alert-undelivered"


def about_place(place: Place, policy: Policy, channels: Sequence[Channel]) -> Iterator[Message]:
    yield from _double_payment(place, policy, channels)
    if isinstance(place.instructor, InstructorUnavailable):
        yield from alert(
            f"alert/instructor-unavailable/{place.known.id_of(place.instructor)}",
            "alert-instructor-unavailable",
            channels,
            place,
            headline=f"No instructor for {place.program.title}",
            lines={"Student": place.student_id, "Program": place.slug},
            to_do="Add an active instructor for this program, or raise the capacity of one. The student is assigned by "
            "itself then, and told.",
        )
    if isinstance(place.milady, MiladyFailed):
        yield from alert(
            f"alert/milady-failed/{place.known.id_of(place.milady)}",
            "alert-milady-failed",
            channels,
            place,
            headline=f"Milady refuses a student of {place.program.title}",
            lines={
                "Student": place.student_id,
                "Program": place.slug,
                "Code": place.milady.code,
                "Attempts": place.milady.attempts,
            },
            to_do="Look the student up at Milady, mend what it refuses, and enroll again.",
        )


def undelivered(
    *, key: str, notification_id: UUID, template: str, code: str, channels: Sequence[Channel], hold: Hold = Hold.NOW
) -> list[Message]:
    """That a message has not reached anybody, or nobody knows whether it has."""
    return list(
        messages(
            f"alert/{key}/{notification_id}",
            UNDELIVERED,
            channels,
            about=None,
            student_id=None,
            purchase_id=None,
            hold=hold,
            headline=_HEADLINES.get(code, "A message could not be delivered"),
            lines={"Message": template, "Notification": str(notification_id), "Code": code},
            to_do=_TO_DO.get(code, "Mend the cause, then send it again: POST /api/admin/notifications/<id>/resend."),
            more={"notification_id": str(notification_id), "code": code},
        )
    )


_HEADLINES = {
    "outcome_unknown": "A message may or may not have been delivered",
    "no_contact": "A message waits for an address",
}
_TO_DO = {
    "outcome_unknown": "The server took the message and broke off before it answered. Ask the recipient or look into "
    "the mail server's log, and send it again if it is not there: POST /api/admin/notifications/<id>/resend.",
    "no_contact": "Nobody has told us how to reach the recipient. Add the contact; the message goes out then.",
}


def refunds_that_failed(bought: Bought, channels: Sequence[Channel]) -> Iterator[Message]:
    place, purchase = bought.place, bought.purchase
    facts = {f.refund_id: f for f in purchase.facts if isinstance(f, PaymentRefunded) and f.status == "failed"}
    for refund_id, fact in sorted(facts.items(), key=lambda each: str(each[0])):
        yield from alert(
            f"alert/refund-failed/{refund_id}",
            "alert-refund-failed",
            channels,
            place,
            purchase_id=purchase.id,
            headline=f"A refund did not go through: {fact.amount or 'amount unknown'}",
            lines={"Student": place.student_id, "Purchase": purchase.id, "Refund": refund_id},
            to_do="The money came back to us. Ask the payer for another way to return it.",
        )


def _double_payment(place: Place, policy: Policy, channels: Sequence[Channel]) -> Iterator[Message]:
    active = sorted(str(p.id) for p in place.purchases if p.id and p.standing(policy)[0] is Standing.ACTIVE)
    if len(active) > 1:
        yield from alert(
            f"alert/double-payment/{place.key}/{'+'.join(active)}",
            "alert-double-payment",
            channels,
            place,
            headline=f"Paid twice for one enrollment: {place.program.title}",
            lines={"Student": place.student_id, "Program": place.slug, "Purchases": ", ".join(active)},
            to_do="Refund one of the purchases, unless the second payment was meant.",
        )


def alert(
    key: str, template: str, channels: Sequence[Channel], place: Place, *, purchase_id: UUID | None = None, **told: Any
) -> Iterator[Message]:
    return messages(
        key, template, channels, about=place.key, student_id=place.student_id, purchase_id=purchase_id, **told
    )


def messages(
    key: str,
    template: str,
    channels: Sequence[Channel],
    *,
    about: str | None,
    student_id: UUID | None,
    purchase_id: UUID | None,
    headline: str,
    lines: dict[str, Any],
    to_do: str,
    hold: Hold = Hold.SETTLE,
    more: dict[str, Any] | None = None,
    once: str | None = None,
) -> Iterator[Message]:
    """One for each channel. `once`: the key of another alert that tells the same."""
    lines = {label: value for label, value in lines.items() if value is not None}
    for channel in channels:
        yield Message(
            key=f"{key}/{channel}",
            template=template,
            recipient="admin",
            channel=channel,
            about=about,
            student_id=student_id,
            purchase_id=purchase_id,
            hold=hold,
            once=frozenset((f"{once or key}/{channel}",)),
            told={"headline": headline, "lines": lines, "to_do": to_do, **(more or {})},
        )
