"""Requests for a refund: admins hear who asks for what, and why; the student hears what became of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from contracts.checkout import RefundDecided, RefundRequested
from notifications import alerts
from notifications.known import Known
from notifications.message import Channel, Message


def about_requests(known: Known, channels: Sequence[Channel]) -> Iterator[Message]:
    """Until it is decided, that it has come in; then, how it was decided. (What goes back is told when it goes.)"""
    decided = {decision.refund_request_id: decision for decision in known.of(RefundDecided)}
    for request in known.of(RefundRequested):
        if request.refund_request_id not in decided:
            yield _to_student(known, request, "refund-requested")
            yield from _to_admins(known, request, channels)
    for decision in decided.values():
        yield _to_student(known, decision, f"refund-{decision.decision}")


def _to_student(known: Known, said: RefundRequested | RefundDecided, template: str) -> Message:
    key = f"{template}/{said.refund_request_id}"
    places = known.places_of(said.purchase_id)
    place = next((place for place in places if place.student_id == said.student_id), None)
    return Message(
        key=key,
        template=template,
        recipient="student",
        about=f"purchase:{said.purchase_id}",
        student_id=said.student_id,
        purchase_id=said.purchase_id,
        contact=place.student_contact if place else None,
        once=frozenset((key,)),
        told={
            "program": known.title_of(said.purchase_id) or (place.program.title if place else None),
            "what": "enrollments" if len(places) > 1 else place.what if place else "enrollment",
            "amount": said.amount,
        },
    )


def _to_admins(known: Known, request: RefundRequested, channels: Sequence[Channel]) -> Iterator[Message]:
    return alerts.messages(
        f"alert/refund-requested/{request.refund_request_id}",
        "alert-refund-requested",
        channels,
        about=f"purchase:{request.purchase_id}",
        student_id=request.student_id,
        purchase_id=request.purchase_id,
        headline="A student asks for a refund",
        lines={
            "Student": request.student_id,
            "Program": known.title_of(request.purchase_id),
            "Purchase": request.purchase_id,
            "Amount": request.amount or "all of it",
            "Request": request.refund_request_id,
            "Why": request.reason,
        },
        to_do="Approve, amend or reject the request.",
    )
