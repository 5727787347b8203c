"""What the facts say of a payment, of its refunds and of its disputes, as rows. Pure, and the same for any order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args

from checkout.payments.domain import PaymentStatus, RefundStatus, outranked
from contracts.money import Money
from contracts.payments import (
    DisputeStatus,
    PaymentDisputeClosed,
    PaymentDisputeOpened,
    PaymentEvent,
    PaymentFailed,
    PaymentPending,
    PaymentRefunded,
    PaymentSucceeded,
)
from ledger.payment import Payment

REFUND_STATUS: Mapping[str, RefundStatus] = {
    "pending": "pending",
    "requires_action": "pending",
    "succeeded": "succeeded",
    "canceled": "canceled",
    "failed": "failed",
}


@dataclass(frozen=True, kw_only=True)
class Said:
    """An event with what its envelope said: the fold itself needs neither id nor time."""

    id: str
    time: datetime
    event: PaymentEvent


@dataclass(frozen=True, kw_only=True)
class RefundTold:
    id: str
    amount: Money
    status: RefundStatus
    at: datetime


def about(payment: Payment, said: Sequence[Said]) -> list[Said]:
    """What was said of this payment, oldest first."""
    ours = (each for each in said if each.event.refs.of_payment() & payment.refs)
    return sorted(ours, key=lambda each: (each.time, each.id))


def status(payment: Payment) -> PaymentStatus:
    failures = [fact for fact in payment.facts if isinstance(fact, PaymentFailed)]
    if payment.settled is not None:
        return "succeeded"
    if payment.under_way:
        return "processing"
    if payment.expired or any(fact.final and fact.code == "canceled" for fact in failures):
        return "canceled"
    return "failed" if failures else "requires_payment"


def amount(payment: Payment) -> Money | None:
    """How much it is of; None while nobody has said."""
    named: list[Money | None] = [payment.settled]
    if named == [None]:
        named += [f.amount for f in payment.facts if isinstance(f, (PaymentPending, PaymentFailed))]
        named += [f.of for f in payment.facts if isinstance(f, PaymentRefunded)]
    known = [money for money in named if money is not None]
    return max(known, key=lambda money: (money.amount, money.currency), default=None)


def paid_at(payment: Payment, said: Sequence[Said]) -> datetime | None:
    """When the first success was."""
    if payment.settled is None:
        return None
    return min((s.time for s in about(payment, said) if isinstance(s.event, PaymentSucceeded)), default=None)


def failure_code(payment: Payment, said: Sequence[Said]) -> str | None:
    """Why the last attempt failed; None for what was paid after all."""
    if payment.settled is not None:
        return None
    return next((s.event.code for s in reversed(about(payment, said)) if isinstance(s.event, PaymentFailed)), None)


def reference(payment: Payment, kind: str) -> str | None:
    """Its id of this kind. Of several (declined charges, intents of an invoice), the one that was paid with."""
    paid = _named(kind, (fact for fact in payment.facts if isinstance(fact, PaymentSucceeded)))
    return min(paid or _named(kind, payment.facts), default=None)


def refunds(payment: Payment, said: Sequence[Said]) -> list[RefundTold]:
    """Each refund that was told by its own id."""
    told: dict[str, list[tuple[Said, PaymentRefunded]]] = defaultdict(list)
    for each in about(payment, said):
        if isinstance(each.event, PaymentRefunded) and each.event.refund_id and each.event.amount:
            told[each.event.refund_id].append((each, each.event))
    return [
        RefundTold(
            id=refund_id,
            amount=max((event.amount for _, event in words if event.amount), key=lambda m: (m.amount, m.currency)),
            status=outranked(*(REFUND_STATUS[event.status] for _, event in words)),
            at=words[0][0].time,
        )
        for refund_id, words in sorted(told.items())
    ]


def disputes(payment: Payment, said: Sequence[Said]) -> dict[str, dict[str, Any]]:
    """dispute id -> its row: the last word by rank, and every word that was heard."""
    told: dict[str, list[tuple[Said, PaymentDisputeOpened | PaymentDisputeClosed]]] = defaultdict(list)
    for each in about(payment, said):
        if isinstance(each.event, (PaymentDisputeOpened, PaymentDisputeClosed)):
            told[each.event.dispute_id].append((each, each.event))
    return {dispute_id: _dispute(words, payment.disputes[dispute_id]) for dispute_id, words in sorted(told.items())}


def _dispute(
    words: Sequence[tuple[Said, PaymentDisputeOpened | PaymentDisputeClosed]], status: DisputeStatus
) -> dict[str, Any]:
    last = [event for _, event in words if event.status == status][-1]
    funds = {event.funds for _, event in words}
    due = [event.evidence_due_by for _, event in words if isinstance(event, PaymentDisputeOpened)]
    closed = [each.time for each, event in words if isinstance(event, PaymentDisputeClosed)]
    return {
        "amount": last.amount.amount,
        "currency": last.amount.currency,
        "reason": last.reason,
        "status": last.status,
        "funds": "reinstated" if "reinstated" in funds else "withdrawn" if "withdrawn" in funds else None,
        "evidence_due_by": next((each for each in reversed(due) if each is not None), None),
        "closed_at": min(closed, default=None),
        "created_at": words[0][0].time,
        "history": [_word(each, event) for each, event in sorted(words, key=_in_life)],
    }


def _in_life(word: tuple[Said, PaymentDisputeOpened | PaymentDisputeClosed]) -> tuple[datetime, bool, int, str]:
    """Stripe's times are whole seconds; within one, as a dispute goes on."""
    each, event = word
    stage = get_args(DisputeStatus).index(event.status)
    return each.time, isinstance(event, PaymentDisputeClosed), stage, each.id


def _word(each: Said, event: PaymentDisputeOpened | PaymentDisputeClosed) -> dict[str, Any]:
    body = event.model_dump(mode="json", include={"status", "amount", "reason", "funds", "evidence_due_by"})
    return {"event_id": each.id, "type": event.type, "time": each.time.isoformat(), **body}


def _named(kind: str, facts: Iterable[PaymentEvent]) -> set[str]:
    return {ref for fact in facts if (ref := getattr(fact.refs, kind))}
