"""Derives the rows of a payment, its refunds and its disputes from payment events. Pure; the order does not matter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from checkout.payments.domain import DisputeValues, PaymentStatus, RefundStatus, final_status
from contracts.money import Money
from contracts.payments import (
    DisputeStatus,
    PaymentDisputeClosed,
    PaymentDisputeOpened,
    PaymentEvent,
    PaymentFailed,
    PaymentMethodDetails,
    PaymentPending,
    PaymentRefunded,
    PaymentSucceeded,
)
from ledger.payment import DISPUTE_RANK, Payment
from ledger.programs import fullest

REFUND_STATUS: Mapping[str, RefundStatus] = {
    "pending": "pending",
    "requires_action": "pending",
    "succeeded": "succeeded",
    "canceled": "canceled",
    "failed": "failed",
}


@dataclass(frozen=True, kw_only=True)
class EventRecord:
    """A payment event with the id and time of its envelope, which the fold itself does not need."""

    id: str
    time: datetime
    event: PaymentEvent


@dataclass(frozen=True, kw_only=True)
class ReportedRefund:
    """A refund as payment events report it. `id` is Stripe's, or ours for money that is refunded by hand."""

    id: str
    amount: Money
    status: RefundStatus
    at: datetime


class EventIndex:
    """The events of a purchase, found by what they refer to: it may have many payments, each with many events."""

    def __init__(self, events: Iterable[EventRecord]) -> None:
        self._by_ref: dict[str, list[EventRecord]] = defaultdict(list)
        for each in events:
            for ref in each.event.refs.of_payment():
                self._by_ref[ref].append(each)

    def of(self, payment: Payment) -> list[EventRecord]:
        """The events of this payment, oldest first."""
        return self.of_refs(payment.refs)

    def of_refs(self, refs: Iterable[str]) -> list[EventRecord]:
        """The events that name one of these references, oldest first."""
        own = {each.id: each for ref in refs for each in self._by_ref.get(ref, ())}
        return sorted(own.values(), key=lambda each: (each.time, each.id))


def status(payment: Payment) -> PaymentStatus:
    failures = [fact for fact in payment.facts if isinstance(fact, PaymentFailed)]
    if payment.settled is not None:
        return "succeeded"
    if payment.processing:
        return "processing"
    if payment.expired or any(fact.final and fact.code == "canceled" for fact in failures):
        return "canceled"
    return "failed" if failures else "requires_payment"


def amount(payment: Payment) -> Money | None:
    """The payment's amount; None while no event states one."""
    stated: list[Money | None] = [payment.settled]
    if stated == [None]:
        stated += [f.amount for f in payment.facts if isinstance(f, (PaymentPending, PaymentFailed))]
        stated += [f.of for f in payment.facts if isinstance(f, PaymentRefunded)]
    amounts = [money for money in stated if money is not None]
    return max(amounts, key=lambda money: (money.amount, money.currency), default=None)


def paid_at(payment: Payment, events: Sequence[EventRecord]) -> datetime | None:
    """The time of the first success. `events`: the payment's."""
    if payment.settled is None:
        return None
    return min((each.time for each in events if isinstance(each.event, PaymentSucceeded)), default=None)


def details(payment: Payment) -> PaymentMethodDetails | None:
    """How it was paid, as far as any event says."""
    return fullest(fact.details for fact in payment.facts if isinstance(fact, PaymentSucceeded))


def method(payment: Payment) -> str | None:
    """What the charge says, else what the session or intent allowed."""
    return found.type if (found := details(payment)) else payment.method


def failure_code(payment: Payment, events: Sequence[EventRecord]) -> str | None:
    """Why the last attempt failed; None if the payment succeeded after all. `events`: the payment's, oldest first."""
    if payment.settled is not None:
        return None
    return next((each.event.code for each in reversed(events) if isinstance(each.event, PaymentFailed)), None)


def reference(payment: Payment, kind: str) -> str | None:
    """Its id of this kind. If there are several (declined charges, intents of an invoice), the one that was paid."""
    paid = _references(kind, (fact for fact in payment.facts if isinstance(fact, PaymentSucceeded)))
    return min(paid or _references(kind, payment.facts), default=None)


def refunds(events: Sequence[EventRecord]) -> list[ReportedRefund]:
    """Every refund that is reported with an id of its own. `events`: the payment's, oldest first."""
    by_id: dict[str, list[tuple[EventRecord, PaymentRefunded]]] = defaultdict(list)
    for each in events:
        if isinstance(each.event, PaymentRefunded) and each.event.refund_id and each.event.amount:
            by_id[each.event.refund_id].append((each, each.event))
    return [
        ReportedRefund(
            id=refund_id,
            amount=max((event.amount for _, event in reports if event.amount), key=lambda m: (m.amount, m.currency)),
            status=final_status(*(REFUND_STATUS[event.status] for _, event in reports)),
            at=reports[0][0].time,
        )
        for refund_id, reports in sorted(by_id.items())
    ]


_DisputeEvent = tuple[EventRecord, PaymentDisputeOpened | PaymentDisputeClosed]


def disputes(payment: Payment, events: Sequence[EventRecord]) -> dict[str, DisputeValues]:
    """By dispute id. `events`: the payment's. The ledger says which status is current: a lost dispute may be appealed,
    and then won."""
    by_id: dict[str, list[_DisputeEvent]] = defaultdict(list)
    for each in events:
        if isinstance(each.event, (PaymentDisputeOpened, PaymentDisputeClosed)):
            by_id[each.event.dispute_id].append((each, each.event))
    return {dispute_id: _dispute(own, payment.disputes[dispute_id]) for dispute_id, own in sorted(by_id.items())}


def _dispute(events: Sequence[_DisputeEvent], status: DisputeStatus) -> DisputeValues:
    ordered = sorted(events, key=_stage)
    last = [event for _, event in ordered if event.status == status][-1]
    funds = [event.funds for _, event in ordered if event.funds is not None]
    due = [event.evidence_due_by for _, event in ordered if isinstance(event, PaymentDisputeOpened)]
    closed = [_at(each) for each, event in ordered if event.status == status]
    is_closed = isinstance(last, PaymentDisputeClosed)
    return DisputeValues(
        amount=last.amount.amount,
        currency=last.amount.currency,
        reason=last.reason,
        status=last.status,
        funds=funds[-1] if funds else None,
        evidence_due_by=next((each for each in reversed(due) if each is not None), None),
        closed_at=min(closed) if is_closed else None,
        created_at=_at(ordered[0][0]),
        history=[_entry(each, event) for each, event in ordered],
    )


def _at(each: EventRecord) -> datetime:
    """When it happened; the envelope's time where the event does not say."""
    return each.event.as_of or each.time


def _stage(dispute_event: _DisputeEvent) -> tuple[datetime, int, bool, str]:
    """Stripe's times are whole seconds; within one second, the order in which a dispute proceeds, its money last."""
    each, event = dispute_event
    return _at(each), DISPUTE_RANK[event.status], event.funds is not None, each.id


def _entry(each: EventRecord, event: PaymentDisputeOpened | PaymentDisputeClosed) -> dict[str, Any]:
    body = event.model_dump(mode="json", include={"status", "amount", "reason", "funds", "evidence_due_by"})
    return {"event_id": each.id, "type": event.type, "time": _at(each).isoformat(), **body}


def _references(kind: str, facts: Iterable[PaymentEvent]) -> set[str]:
    return {ref for fact in facts if (ref := getattr(fact.refs, kind))}
