"""The first mail to a sponsor: what is invoiced for which student, and where to pay it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from contracts.checkout import PurchaseCreated
from contracts.payments import PurchaseEnded
from ledger.payment import Payment
from notifications.message import Message
from notifications.student_facts import PurchaseFacts, StudentFacts


def _ends_the_wait(facts: PurchaseFacts, payment: Payment) -> bool:
    """Whether the sponsor has paid, is paying, or need not pay anymore. (The student may pay a co-pay first.)"""
    if facts.enrollment.payer(facts.purchase, payment) == "student":
        return False
    return payment.settled is not None or payment.processing or payment.voided


def sponsor_link_messages(facts: StudentFacts) -> Iterator[Message]:
    """One for each purchase that waits for its sponsor: not for one that is paid, being paid, voided or ended."""
    done = {
        fact.purchase_id
        for each in facts.purchases
        if any(_ends_the_wait(each, payment) for payment in each.purchase.payments)
        for fact in each.purchase.facts
    } | {ended.purchase_id for ended in facts.of(PurchaseEnded)}
    for created in facts.of(PurchaseCreated):
        enrollments = facts.enrollments_of(created.purchase_id)
        if created.payer == "sponsor" and created.purchase_id not in done and enrollments:
            enrollment = enrollments[0]
            yield Message(
                key=f"sponsor-link/{created.purchase_id}",
                template="sponsor-link",
                recipient="sponsor",
                facts_key=f"purchase:{created.purchase_id}",
                student_id=enrollment.student_id,
                purchase_id=created.purchase_id,
                contact=created.payer_contact,
                context={
                    "program": created.program.title,
                    "noun": "enrollments" if len(created.program.parts) > 1 else enrollment.noun,
                    "amount": created.amount if created.co_pay is None else created.amount - created.co_pay,
                    "co_pay": created.co_pay,
                    "invoices": created.installments or 1,
                    "due_at": created.due_at,
                    "authorization_number": created.authorization_number,
                    "url": created.checkout_url,
                    "funding_source": created.funding_source,
                    "expires_at": created.expires_at,
                    "reference": str(created.purchase_id),
                    "payer": "sponsor",
                    "student": enrollment.student_name,
                    "student_id": str(enrollment.student_id),
                },
            )
