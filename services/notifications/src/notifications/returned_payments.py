"""Mails about installments that were taken back after they had been received: they are owed again. Pure.

A late return of a bank debit arrives as a lost dispute with a bank's reason (Stripe SDK 16.1, Dispute.reason).
"""

from __future__ import annotations

from collections.abc import Iterator

from contracts.enrollment import EnrollmentCompleted, EnrollmentPaused
from ledger.standing import Standing
from notifications.failures import failure_context, page_of, pause_return_topic, pause_topics
from notifications.message import DeliveryDelay, Message
from notifications.payer_message import payer_message
from notifications.receipts import reference
from notifications.student_facts import PurchaseFacts


def returned_payment_messages(facts: PurchaseFacts) -> Iterator[Message]:
    """One for each payment of a plan or membership that was taken back and not paid again. (A lost dispute of a single
    payment ends the enrollment, which has a mail of its own.)"""
    enrollment, purchase = facts.weakest, facts.purchase
    if purchase.ended or enrollment.has_standing(Standing.WITHDRAWN):
        return
    for payment in purchase.past_due:
        if not payment.lost or payment not in enrollment.past_due:
            continue
        paused = enrollment.has_standing(Standing.PAUSED) and not isinstance(enrollment.latest, EnrollmentCompleted)
        if paused and not isinstance(enrollment.latest, EnrollmentPaused):
            continue  # enrollment's event is still on its way
        to_student = enrollment.payer(purchase, payment) == "student"
        explained = pause_topics(payment).union(*(pause_return_topic(each) for each in facts.enrollments))
        yield payer_message(
            facts,
            payment,
            enrollment=enrollment,
            key=f"payment-returned/{min(payment.refs)}",
            template="payment-returned",
            delay=DeliveryDelay.LINKED_EVENTS,
            topics=frozenset(f"payment-returned:{ref}" for ref in payment.refs),
            yields_to=explained if to_student and paused else frozenset(),
            context={
                "enrollment_status": "paused" if paused else "open" if enrollment.is_open else None,
                "reference": reference(payment),
                "pay_url": page_of(enrollment.facts, payment) or facts.pay_link,
                **failure_context(enrollment, payment),
            },
        )
