"""Refund mails: one for each refund, whichever events report it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from contracts.money import Money
from contracts.payments import PaymentRefunded
from ledger.purchase import Standing
from notifications.message import DeliveryDelay, Message
from notifications.receipts import reference
from notifications.student_facts import PurchaseFacts


def refund_messages(facts: PurchaseFacts) -> Iterator[Message]:
    """One for each refund. A charge event has totals, a refund event its own amount; both report the same money.

    Refunds are therefore told apart by amount and number: if the two sources disagree about how many refunds of an
    amount there were, the higher count is right, because each may have missed some.
    """
    enrollment, purchase = facts.enrollment, facts.purchase
    for payment in purchase.payments:
        refunds = [fact for fact in payment.facts if isinstance(fact, PaymentRefunded)]
        by_totals, by_refund = _count_by_totals(refunds), _count_by_refund(refunds)
        paid = payment.settled or max((f.of for f in refunds if f.of), key=lambda money: money.amount, default=None)
        for amount in sorted({*by_totals, *by_refund}, key=lambda money: money.amount):
            for number in range(1, max(by_totals[amount], by_refund[amount]) + 1):
                yield Message(
                    key=f"refund/{min(payment.refs)}/{amount.amount}/{number}",
                    template="refund",
                    recipient=enrollment.payer(purchase),
                    facts_key=enrollment.key,
                    student_id=enrollment.student_id,
                    purchase_id=purchase.id,
                    contact=enrollment.payer_contact(purchase, payment),
                    delay=DeliveryDelay.LINKED_EVENTS,
                    topics=frozenset(f"refund:{ref}/{amount.amount}/{number}" for ref in payment.refs),
                    context={
                        "program": facts.title,
                        "noun": facts.noun,
                        "amount": amount,
                        "paid": paid,
                        "full": paid is not None and amount == paid,
                        "fully_refunded": paid is not None and payment.refunded >= paid.amount,
                        "manual": payment.manual,
                        "enrollment_unchanged": _enrollment_unchanged(facts),
                        "reference": reference(payment),
                        **enrollment.payer_context(purchase),
                    },
                )


def _enrollment_unchanged(facts: PurchaseFacts) -> bool:
    """Whether no enrollment of the purchase is withdrawn, by the verdict."""
    verdicts = [enrollment.settled_verdict for enrollment in facts.enrollments]
    return all(verdict is not None and verdict.standing is not Standing.WITHDRAWN for verdict in verdicts)


def _count_by_totals(facts: Sequence[PaymentRefunded]) -> Counter[Money]:
    """How often the charge's refunded total rose by each amount; failed refunds are subtracted again."""
    totals = sorted({fact.total.amount for fact in facts if fact.total})
    counted: Counter[Money] = Counter()
    for before, total in {(f.before, f.total) for f in facts if f.total}:
        smaller = [each for each in totals if each < total.amount]
        step = total.amount - (before.amount if before else max(smaller, default=0))
        if step > 0:
            counted[Money(amount=step, currency=total.currency)] += 1
    failed = {fact.refund_id: fact.amount for fact in facts if _has_failed(fact) and fact.amount}
    return counted - Counter(failed.values())


def _count_by_refund(facts: Sequence[PaymentRefunded]) -> Counter[Money]:
    failed = {fact.refund_id for fact in facts if _has_failed(fact)}
    return Counter({f.refund_id: f.amount for f in facts if f.amount and f.refund_id not in failed}.values())


def _has_failed(fact: PaymentRefunded) -> bool:
    return fact.status in ("failed", "canceled")
