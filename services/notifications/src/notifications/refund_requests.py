"""Refund requests: an alert for the admins with the reason, and mails to the student about the progress. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from contracts.checkout import RefundDecided, RefundRequested
from notifications import alerts
from notifications.message import Channel, Message
from notifications.student_facts import StudentFacts


def refund_request_messages(facts: StudentFacts, channels: Sequence[Channel]) -> Iterator[Message]:
    """An open request is confirmed, a decided one answered. (The refund itself has a mail of its own.)"""
    decisions = {decision.refund_request_id: decision for decision in facts.of(RefundDecided)}
    for request in facts.of(RefundRequested):
        if request.refund_request_id not in decisions:
            yield _to_student(facts, request, "refund-requested")
            yield from _to_admins(facts, request, channels)
    for decision in decisions.values():
        yield _to_student(facts, decision, f"refund-{decision.decision}")


def _to_student(facts: StudentFacts, event: RefundRequested | RefundDecided, template: str) -> Message:
    key = f"{template}/{event.refund_request_id}"
    enrollments = [each for each in facts.enrollments_of(event.purchase_id) if each.student_id == event.student_id]
    enrollment = enrollments[0] if enrollments else None
    return Message(
        key=key,
        template=template,
        recipient="student",
        facts_key=f"purchase:{event.purchase_id}",
        student_id=event.student_id,
        purchase_id=event.purchase_id,
        contact=enrollment.student_contact if enrollment else None,
        topics=frozenset((key,)),
        context={
            "program": facts.title_of(event.purchase_id) or (enrollment.program.title if enrollment else None),
            "noun": "enrollments" if len(enrollments) > 1 else enrollment.noun if enrollment else "enrollment",
            "amount": event.amount,
        },
    )


def _to_admins(facts: StudentFacts, request: RefundRequested, channels: Sequence[Channel]) -> Iterator[Message]:
    return alerts.alert(
        f"refund-requested/{request.refund_request_id}",
        "alert-refund-requested",
        channels,
        facts_key=f"purchase:{request.purchase_id}",
        student_id=request.student_id,
        purchase_id=request.purchase_id,
        headline="A student asks for a refund",
        details={
            "Student": request.student_id,
            "Program": facts.title_of(request.purchase_id),
            "Purchase": request.purchase_id,
            "Amount": request.amount or "all of it",
            "Request": request.refund_request_id,
            "Reason": request.reason,
        },
        to_do="Approve, change or reject the request.",
    )
