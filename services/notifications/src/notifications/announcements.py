"""Mails some days before an installment is charged, or an invoice is due. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from contracts.checkout import InstallmentAnnounced
from contracts.payments import (
    PaymentEvent,
    PaymentExpired,
    PaymentFailed,
    PaymentPending,
    PaymentSucceeded,
    PurchaseEnded,
)
from notifications.failures import decides_what_follows
from notifications.message import Message
from notifications.student_facts import StudentFacts


def announcement_messages(facts: StudentFacts) -> Iterator[Message]:
    """The latest announcement of each installment that is still to be paid. A new due date is announced again."""
    latest = {announced.installment: announced for announced in facts.of(InstallmentAnnounced)}
    for announced in latest.values():
        if not _is_out_of_date(facts, announced):
            yield _message(facts, announced)


def _is_out_of_date(facts: StudentFacts, announced: InstallmentAnnounced) -> bool:
    """Paid, being paid, no longer owed, or tried already: another mail says so."""
    if any(ended.purchase_id == announced.purchase_id for ended in facts.of(PurchaseEnded)):
        return True
    purchase = facts.purchase_of(announced.purchase_id)
    if purchase is not None and purchase.paid_up:
        return True
    of_installment = (e for e in facts.of(PaymentEvent) if e.refs.installment == announced.installment)
    return any(_replaces(facts, event) for event in of_installment)


def _replaces(facts: StudentFacts, event: PaymentEvent) -> bool:
    match event:
        case PaymentSucceeded() | PaymentPending():
            return True
        case PaymentFailed():
            return decides_what_follows(facts, event)  # otherwise its payer has tried to pay early
        case PaymentExpired():
            return not event.refs.of_payment()  # otherwise only the page or invoice has expired
        case _:
            return False


def _message(facts: StudentFacts, announced: InstallmentAnnounced) -> Message:
    enrollments = facts.enrollments_of(announced.purchase_id)
    own = [each for each in enrollments if each.student_id == announced.student_id]
    key = f"installment-announced/{announced.installment}/{announced.due_at:%Y-%m-%d}"
    return Message(
        key=key,
        template="installment-announced",
        recipient=announced.payer,
        facts_key=f"purchase:{announced.purchase_id}",
        student_id=announced.student_id,
        purchase_id=announced.purchase_id,
        contact=announced.payer_contact if announced.payer == "sponsor" else own[0].student_contact if own else None,
        topics=frozenset((key,)),
        context={
            "program": announced.program.title,
            "amount": announced.amount,
            "due_at": announced.due_at,
            "position": announced.position,
            "installments": announced.installments,
            "automatic": announced.automatic,
            "co_pay": announced.co_pay,
            "pay_url": announced.pay_url,
            "payer": announced.payer,
            "student": own[0].student_name if own else None,
            "student_id": str(announced.student_id),
        },
    )
