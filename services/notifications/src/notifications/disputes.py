"""Dispute alerts: each step of a dispute, once. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from contracts.payments import PaymentDisputeClosed, PaymentDisputeOpened
from ledger.payment import Payment
from notifications.alerts import enrollment_alert
from notifications.message import Channel, Message
from notifications.student_facts import PurchaseFacts

DisputeEvent = PaymentDisputeOpened | PaymentDisputeClosed

_INQUIRY = frozenset(("warning_needs_response", "warning_under_review"))
_APPEAL = frozenset(("appeal_needs_response", "appeal_under_review"))
"""A lost dispute may be appealed, and then won (https://docs.stripe.com/changelog/endive/2026-10-28)."""
_OUTCOMES = {"won": "won", "lost": "lost", "warning_closed": "inquiry closed", "prevented": "prevented"}


def dispute_alerts(facts: PurchaseFacts, channels: Sequence[Channel]) -> Iterator[Message]:
    """The current step of each dispute. Earlier steps are left out: a closed dispute needs no evidence."""
    events = [f for f in facts.purchase.facts if isinstance(f, (PaymentDisputeOpened, PaymentDisputeClosed))]
    for dispute_id in sorted({event.dispute_id for event in events}):
        own = [event for event in events if event.dispute_id == dispute_id]
        own.sort(key=facts.enrollment.facts.order_of)
        payment = Payment(tuple(own))
        yield from _status_alert(facts, own, payment.disputes[dispute_id], channels)
        yield from _funds_alert(facts, own, withdrawn=bool(payment.funds_withdrawn), channels=channels)


def _status_alert(
    facts: PurchaseFacts, events: Sequence[DisputeEvent], status: str, channels: Sequence[Channel]
) -> Iterator[Message]:
    appealed = any(event.status in _APPEAL for event in events)
    if status == "appeal_needs_response":
        to_do = "The bank's decision can be appealed: submit the evidence in the Stripe Dashboard by the deadline. "
        to_do += "Until the appeal is won, the dispute counts as lost."
        yield from _alert(facts, events, "appeal", "appeal needs a response", status, to_do, channels)
    elif status in _APPEAL:
        return  # nothing to do until it is decided
    elif status in _OUTCOMES or any(isinstance(event, PaymentDisputeClosed) for event in events):
        step, outcome = ("appeal-closed", "appeal ") if appealed else ("closed", "")
        outcome += _OUTCOMES.get(status, "closed")
        to_do = _to_do_when_closed(facts, events[-1].dispute_id, status, appealed=appealed)
        yield from _alert(facts, events, step, outcome, status, to_do, channels)
    elif status in _INQUIRY:
        to_do = "Answer the bank's inquiry in the Stripe Dashboard by the deadline, or refund the payment: either "
        to_do += "keeps it from becoming a dispute."
        yield from _alert(facts, events, "inquiry", "inquiry", status, to_do, channels)
    else:
        to_do = "Submit the evidence in the Stripe Dashboard by the deadline. An open dispute does not change the "
        to_do += "enrollment."
        if any(event.status in _INQUIRY for event in events):
            to_do = f"The bank's inquiry has become a dispute. {to_do}"
            topic = f"dispute-opened/{events[0].dispute_id}"
            yield from _alert(facts, events, "escalated", "escalated", status, to_do, channels, topic=topic)
        else:
            yield from _alert(facts, events, "opened", "opened", status, to_do, channels)


def _funds_alert(
    facts: PurchaseFacts, events: Sequence[DisputeEvent], *, withdrawn: bool, channels: Sequence[Channel]
) -> Iterator[Message]:
    if withdrawn:
        to_do = "Nothing: the bank holds the money until the dispute is decided."
        if events[-1].status == "lost":
            to_do = "Nothing: the dispute was lost, and the money is not returned."
        yield from _alert(facts, events, "funds-withdrawn", "funds withdrawn", None, to_do, channels)
    elif any(event.funds == "reinstated" for event in events):
        to_do = "Nothing: the money is back in the school's account."
        yield from _alert(facts, events, "funds-reinstated", "funds reinstated", None, to_do, channels)


def _alert(
    facts: PurchaseFacts,
    events: Sequence[DisputeEvent],
    step: str,
    headline: str,
    status: str | None,
    to_do: str,
    channels: Sequence[Channel],
    *,
    topic: str | None = None,
) -> Iterator[Message]:
    purchase, latest = facts.purchase, events[-1]
    deadlines = [e.evidence_due_by for e in events if isinstance(e, PaymentDisputeOpened) and e.evidence_due_by]
    needs_evidence = step in ("opened", "inquiry", "escalated", "appeal")
    key = f"dispute-{step}/{latest.dispute_id}"
    yield from enrollment_alert(
        key,
        f"alert-dispute-{step}",
        channels,
        facts.enrollment,
        topics=[topic or key],
        purchase_id=purchase.id,
        headline=f"Dispute {headline}: {latest.amount}, {facts.title}",
        details={
            "Student": facts.enrollment.student_id,
            "Program": purchase.program.slug if purchase.program else facts.enrollment.slug,
            "Purchase": purchase.id,
            "Dispute": latest.dispute_id,
            "Amount": latest.amount,
            "Reason": latest.reason,
            "Status": status,
            "Evidence due by": deadlines[-1] if deadlines and needs_evidence else None,
        },
        to_do=to_do,
    )


def _to_do_when_closed(facts: PurchaseFacts, dispute_id: str, status: str, *, appealed: bool) -> str:
    nothing = "Nothing, unless the outcome is unexpected."
    if status != "lost":
        return f"{nothing} What the lost dispute had changed is restored." if appealed else nothing
    policy = facts.enrollment.facts.policy
    if any(dispute_id in due.disputes and due.lost for due in facts.purchase.past_due):
        paused = ", and the enrollment is paused until then" if policy.past_due_pauses else ""
        return f"{nothing} The payer is asked to pay this installment again{paused}."
    if policy.lost_dispute_withdraws:
        return f"{nothing} A lost dispute withdraws the enrollment, unless another purchase pays for it."
    return f"{nothing} A lost dispute does not change the enrollment (lost_dispute_withdraws is off)."
