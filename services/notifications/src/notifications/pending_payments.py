"""Mails about bank debits that were submitted and have not settled yet. Pure.

Stripe knows after up to 4 business days (https://docs.stripe.com/payments/ach-direct-debit).
"""

from __future__ import annotations

from collections.abc import Iterator

from contracts.payments import PaymentFailed, PaymentPending
from ledger.payment import Payment
from ledger.standing import Standing
from notifications.message import DeliveryDelay, Message
from notifications.payer_message import payer_message
from notifications.student_facts import PurchaseFacts


def pending_payment_messages(facts: PurchaseFacts) -> Iterator[Message]:
    """One for each debit that is being processed; a debit that is presented again is another one."""
    enrollment, purchase = facts.enrollment, facts.purchase
    if purchase.ended:
        return
    for payment in purchase.payments:
        if payment.settled is not None or not payment.processing:
            continue
        pending = [fact for fact in payment.facts if isinstance(fact, PaymentPending)]
        number = _presented_before(payment)
        yield payer_message(
            facts,
            payment,
            key=f"payment-pending/{min(payment.refs)}/{number}",
            template="payment-pending",
            delay=DeliveryDelay.NEW_ATTEMPT,
            topics=frozenset(f"payment-pending:{ref}/{number}" for ref in payment.refs),
            context={
                "amount": max((f.amount for f in pending if f.amount), key=lambda money: money.amount, default=None),
                "submitted_at": min(enrollment.facts.occurred_at(fact) for fact in pending),
                "opens": _opens(facts, payment),
            },
        )


def _presented_before(payment: Payment) -> int:
    """How many debits of this payment were returned."""
    submitted = {fact.refs.charge for fact in payment.facts if isinstance(fact, PaymentPending)}
    returned = {fact.refs.charge for fact in payment.facts if isinstance(fact, PaymentFailed)}
    return len((submitted & returned) - {None})


def _opens(facts: PurchaseFacts, payment: Payment) -> bool:
    """Whether the enrollment opens, or opens again, when this debit settles."""
    enrollment = facts.weakest
    if enrollment.has_standing(Standing.ACTIVE) or enrollment.is_open:
        return False
    return enrollment.would_be_open([payment])
