"""Which messages the facts call for. Pure: plain data in, messages out.

A message is derived from the facts when one of them arrives (it is wanted) and again when it is about to go out (it is
still wanted). So what goes out depends on what is known then, never on the order in which it became known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from contracts.checkout import RefundDecided, RefundRequested
from contracts.facts import DEFAULT_POLICY, Policy
from contracts.people import Program
from notifications.alerts import about_place, about_requests
from notifications.failures import about_failures
from notifications.known import Known
from notifications.message import Channel, Hold, Message
from notifications.money import about_money
from notifications.seat import about_seat

Told = Mapping[str, UUID]
"""mark -> the message that carries it and has gone out"""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the school has chosen: what money does to a seat, how long messages wait for facts that may still be on
    their way, and how admins are alerted."""

    policy: Policy = DEFAULT_POLICY
    receipt_settle: timedelta = timedelta(seconds=2)
    failure_settle: timedelta = timedelta(seconds=60)
    welcome_grace: timedelta = timedelta(seconds=20)
    no_contact: timedelta = timedelta(minutes=15)
    alert_channels: tuple[Channel, ...] = ("email",)

    def delay(self, hold: Hold) -> timedelta:
        match hold:
            case Hold.NOW:
                return timedelta()
            case Hold.SETTLE:
                return self.receipt_settle
            case Hold.FAILURE:
                return self.failure_settle
            case Hold.GRACE:
                return self.welcome_grace
            case Hold.OVERDUE:
                return self.no_contact


def messages(known: Known, rules: Rules) -> list[Message]:
    """Every message that the facts call for, whether or not it has gone out already."""
    found: list[Message] = []
    for place in known.places:
        found += about_money(place, rules.policy)
        found += about_failures(place, rules.policy)
        found += about_seat(place, rules.policy)
        found += about_place(place, rules.policy, rules.alert_channels)
    found += _refund_requests(known)
    found += about_requests(known, rules.alert_channels)
    return found


def wanted(found: Sequence[Message], told: Told) -> list[Message]:
    """Those that may go: nobody else has told it, and what has to be told before has been."""
    may_go = [message for message in found if _may_go(message, told)]
    going = frozenset[str]().union(*(m.once | m.tells for m in may_go if not m.once & told.keys()))
    return [message for message in may_go if not message.yields & going]


def marks(found: Sequence[Message]) -> frozenset[str]:
    """Every mark that decides about one of these messages."""
    return frozenset[str]().union(*(message.marks for message in found))


def _may_go(message: Message, told: Told) -> bool:
    by_another = any(
        told.get(mark, message.id) != message.id for mark in message.once | message.unless | message.yields
    )
    return not by_another and all(mark in told for mark in message.after)


def _refund_requests(known: Known) -> Iterator[Message]:
    """That a request has come in, and that it was rejected; what was approved is told when the money goes back."""
    decided = {decision.refund_request_id: decision for decision in known.of(RefundDecided)}
    for request in known.of(RefundRequested):
        if request.refund_request_id not in decided:
            yield _about_request(known, request, "refund-requested")
    for decision in decided.values():
        if decision.decision == "rejected":
            yield _about_request(known, decision, "refund-rejected")


def _about_request(known: Known, said: RefundRequested | RefundDecided, template: str) -> Message:
    key = f"{template}/{said.refund_request_id}"
    place = next((place for place in known.places if place.student_id == said.student_id), None)
    program: Program | None = place.program if place else None
    return Message(
        key=key,
        template=template,
        recipient="student",
        about=f"purchase:{said.purchase_id}",
        student_id=said.student_id,
        purchase_id=said.purchase_id,
        contact=place.student_contact if place else None,
        once=frozenset((key,)),
        told={"program": program.title if program else None, "amount": said.amount},
    )
