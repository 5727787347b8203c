"""Alerts about disputes: each step of one's life, once. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from contracts.payments import PaymentDisputeClosed, PaymentDisputeOpened
from ledger.payment import Payment
from ledger.policy import Policy
from notifications.alerts import alert
from notifications.known import Bought
from notifications.message import Channel, Message

Told = PaymentDisputeOpened | PaymentDisputeClosed

_INQUIRY = frozenset(("warning_needs_response", "warning_under_review"))
_OUTCOMES = {"won": "won", "lost": "lost", "warning_closed": "inquiry closed", "prevented": "prevented"}


def about_disputes(bought: Bought, policy: Policy, channels: Sequence[Channel]) -> Iterator[Message]:
    """What is known to be over is not told: nobody needs to send evidence for a dispute that is closed."""
    told = [f for f in bought.purchase.facts if isinstance(f, (PaymentDisputeOpened, PaymentDisputeClosed))]
    for dispute_id in sorted({fact.dispute_id for fact in told}):
        facts = sorted((fact for fact in told if fact.dispute_id == dispute_id), key=bought.place.when)
        all_told = Payment(tuple(facts))
        yield from _standing(bought, facts, all_told.disputes[dispute_id], policy, channels)
        yield from _funds(bought, facts, withdrawn=bool(all_told.funds_withdrawn), channels=channels)


def _standing(
    bought: Bought, facts: Sequence[Told], status: str, policy: Policy, channels: Sequence[Channel]
) -> Iterator[Message]:
    was_inquiry = any(fact.status in _INQUIRY for fact in facts)
    opened = f"alert/dispute-opened/{facts[0].dispute_id}"
    if status in _OUTCOMES:
        yield from _alert(bought, facts, "closed", _OUTCOMES[status], status, _after(status, policy), channels)
    elif any(isinstance(fact, PaymentDisputeClosed) for fact in facts):
        yield from _alert(bought, facts, "closed", "closed", status, _after(status, policy), channels)
    elif status in _INQUIRY:
        to_do = "Answer the bank's question at Stripe in time, or refund: that keeps it from becoming a dispute."
        yield from _alert(bought, facts, "inquiry", "inquiry", status, to_do, channels)
    else:
        to_do = "Send Stripe the evidence in time. An open dispute changes nothing about the enrollment."
        if was_inquiry:
            to_do = f"The bank's inquiry has become a dispute. {to_do}"
            yield from _alert(bought, facts, "escalated", "escalated", status, to_do, channels, once=opened)
        else:
            yield from _alert(bought, facts, "opened", "opened", status, to_do, channels)


def _funds(bought: Bought, facts: Sequence[Told], *, withdrawn: bool, channels: Sequence[Channel]) -> Iterator[Message]:
    if withdrawn:
        to_do = "Nothing: the bank holds the money until the dispute is decided."
        if facts[-1].status == "lost":
            to_do = "Nothing: the dispute is lost, and the money stays away."
        yield from _alert(bought, facts, "funds-withdrawn", "funds withdrawn", None, to_do, channels)
    elif any(fact.funds == "reinstated" for fact in facts):
        to_do = "Nothing: the money is in the school's account again."
        yield from _alert(bought, facts, "funds-reinstated", "funds reinstated", None, to_do, channels)


def _alert(
    bought: Bought,
    facts: Sequence[Told],
    step: str,
    headline: str,
    status: str | None,
    to_do: str,
    channels: Sequence[Channel],
    *,
    once: str | None = None,
) -> Iterator[Message]:
    last = facts[-1]
    due = [fact.evidence_due_by for fact in facts if isinstance(fact, PaymentDisputeOpened) and fact.evidence_due_by]
    open_still = step in ("opened", "inquiry", "escalated")
    lines: dict[str, Any] = {
        "Student": bought.place.student_id,
        "Program": bought.purchase.program.slug if bought.purchase.program else bought.place.slug,
        "Purchase": bought.purchase.id,
        "Dispute": last.dispute_id,
        "Amount": last.amount,
        "Reason": last.reason,
        "Status": status,
        "Evidence due by": due[-1] if due and open_still else None,
    }
    yield from alert(
        f"alert/dispute-{step}/{last.dispute_id}",
        f"alert-dispute-{step}",
        channels,
        bought.place,
        purchase_id=bought.purchase.id,
        headline=f"Dispute {headline}: {last.amount}, {bought.title}",
        lines=lines,
        to_do=to_do,
        once=once,
    )


def _after(status: str, policy: Policy) -> str:
    nothing = "Nothing, unless the outcome surprises you."
    if status != "lost":
        return nothing
    if policy.lost_dispute_withdraws:
        return f"{nothing} A lost dispute withdraws the enrollment, unless another purchase holds it."
    return f"{nothing} A lost dispute changes nothing about the enrollment (LOST_DISPUTE_WITHDRAWS is off)."
