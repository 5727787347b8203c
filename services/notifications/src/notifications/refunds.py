"""Refund mails: one for each refund, whichever events report it, or one for several that are made together. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from contracts.checkout import RefundDecided
from contracts.enrollment import EnrollmentWithdrawn
from contracts.money import Money
from contracts.payments import PaymentRefunded
from ledger.payment import Payment
from ledger.standing import Standing
from notifications.enrollment import Enrollment
from notifications.message import DeliveryDelay, Message, notification_id
from notifications.payer_message import payer_message
from notifications.receipts import reference
from notifications.student_facts import PurchaseFacts

_TOPIC = "refunded-together:"
REFUNDED = "refunded"
"""Checkout's reason of an end that pays everything back, and the ledger's of a full refund."""


def refund_messages(facts: PurchaseFacts) -> Iterator[Message]:
    """The refunds of a plan are one for each installment, made together: they have one mail. Each keeps its own, which
    yields to it, so that a refund that is made later is announced too."""
    single = [message for payment in facts.purchase.payments for message in _messages(facts, payment)]
    if len({(message.recipient, message.context["amount"].currency) for message in single}) == 1 and len(single) > 1:
        yield _combine(facts, single)
        single = [replace(m, yields_to=m.yields_to | {_TOPIC + m.key}) for m in single]
    yield from single


def _messages(facts: PurchaseFacts, payment: Payment) -> Iterator[Message]:
    """One for each refund. A charge event has totals, a refund event its own amount; both report the same money.

    Refunds are therefore told apart by amount and number: if the two sources disagree about how many refunds of an
    amount there were, the higher count is right, because each may have missed some.
    """
    refunds = [fact for fact in payment.facts if isinstance(fact, PaymentRefunded)]
    by_totals, by_refund = _count_by_totals(refunds), _count_by_refund(refunds)
    paid = payment.settled or max((f.of for f in refunds if f.of), key=lambda money: money.amount, default=None)
    ended = [each for each in facts.enrollments if ended_by_refund(each)]
    for amount in sorted({*by_totals, *by_refund}, key=lambda money: money.amount):
        for number in range(1, max(by_totals[amount], by_refund[amount]) + 1):
            yield payer_message(
                facts,
                payment,
                key=f"refund/{min(payment.refs)}/{amount.amount}/{number}",
                template="refund",
                delay=DeliveryDelay.LINKED_EVENTS,
                topics=frozenset(f"refund:{ref}/{amount.amount}/{number}" for ref in payment.refs),
                also_covers=frozenset[str]().union(*(end_topics(each) for each in ended)),
                context={
                    "amount": amount,
                    "paid": paid,
                    "full": paid is not None and amount == paid,
                    "fully_refunded": paid is not None and payment.refunded >= paid.amount,
                    "manual": payment.manual,
                    "enrollment_ended": bool(ended) and len(ended) == len(facts.enrollments),
                    "enrollment_unchanged": _enrollment_unchanged(facts),
                    "reference": reference(payment),
                },
            )


def _combine(facts: PurchaseFacts, single: Sequence[Message]) -> Message:
    ordered = sorted(single, key=lambda message: message.key)
    purchase, first = facts.purchase, ordered[0]
    currency = first.context["amount"].currency
    amount = sum(message.context["amount"].amount for message in ordered)
    own = (each for each in purchase.settled_payments if facts.enrollment.payer(purchase, each) == first.recipient)
    received = (each.settled for each in own if each.settled)
    paid = sum(money.amount for money in received if money.currency == currency)
    references = dict.fromkeys(message.context["reference"] for message in ordered)
    return replace(
        first,
        key=f"refund/{purchase.id}/{notification_id(' '.join(message.key for message in ordered))}",
        topics=frozenset(_TOPIC + message.key for message in ordered),
        suppressed_by=frozenset[str]().union(*(message.topics for message in ordered)),
        also_covers=frozenset[str]().union(*(message.covers for message in ordered)),
        context={
            **first.context,
            "amount": Money(amount=amount, currency=currency),
            "paid": Money(amount=paid, currency=currency) if paid else None,
            "full": amount == paid,
            "fully_refunded": all(message.context["fully_refunded"] for message in ordered),
            "manual": all(message.context["manual"] for message in ordered),
            "reference": ", ".join(references),
        },
    )


# --- what a refund means for the enrollment ---------------------------------------------------------------------------


def ended_by_refund(enrollment: Enrollment) -> bool:
    """Whether the mail about the refund says that the enrollment has ended, because the refund is why it has.

    An end that the student has asked for is confirmed at once, and one that the school wanted has its reason: those
    have mails of their own, unless it was a refund request that was approved.
    """
    verdict, policy = enrollment.settled_verdict, enrollment.facts.policy
    if verdict is None or verdict.standing is not Standing.WITHDRAWN or verdict.reason not in (REFUNDED, "canceled"):
        return False
    purchases = [p for p in enrollment.purchases if p.standing(policy) == (verdict.standing, verdict.reason)]
    if any(enrollment.payer(purchase) == "sponsor" for purchase in purchases):
        return False  # the refund's mail goes to the sponsor
    decided = enrollment.facts.of(RefundDecided)
    approved = {decision.purchase_id for decision in decided if decision.decision == "approved"}
    ends = [end for purchase in purchases if (end := purchase.ended)]
    refunds = all(end.by == "school" and (end.reason == REFUNDED or end.purchase_id in approved) for end in ends)
    return bool(purchases) and refunds and (bool(ends) or verdict.reason == REFUNDED)


def end_topics(enrollment: Enrollment) -> frozenset[str]:
    """Covered by the mail about a refund that ends the enrollment, before or after enrollment has published the end."""
    if not ended_by_refund(enrollment):
        return frozenset()
    latest = enrollment.latest
    revision = 0 if latest is None else latest.revision - isinstance(latest, EnrollmentWithdrawn)
    return frozenset((f"refund-explains-end:{enrollment.key}/{revision}",))


def _enrollment_unchanged(facts: PurchaseFacts) -> bool:
    """Whether every enrollment of the purchase goes on, by the verdict."""
    going_on = (Standing.ACTIVE, Standing.PAUSED)
    return facts.purchase.ended is None and all(enrollment.has_standing(*going_on) for enrollment in facts.enrollments)


# --- counting ---------------------------------------------------------------------------------------------------------


def _count_by_totals(facts: Sequence[PaymentRefunded]) -> Counter[Money]:
    """How often the charge's refunded total rose by each amount; failed refunds are subtracted again."""
    totals = sorted({fact.total.amount for fact in facts if fact.total})
    counted: Counter[Money] = Counter()
    for before, total in {(f.before, f.total) for f in facts if f.total}:
        smaller = [each for each in totals if each < total.amount]
        step = total.amount - (before.amount if before else max(smaller, default=0))
        if step > 0:
            counted[Money(amount=step, currency=total.currency)] += 1
    failed = {fact.refund_id: fact.amount for fact in facts if has_failed(fact) and fact.amount}
    return counted - Counter(failed.values())


def _count_by_refund(facts: Sequence[PaymentRefunded]) -> Counter[Money]:
    failed = {fact.refund_id for fact in facts if has_failed(fact)}
    return Counter({f.refund_id: f.amount for f in facts if f.amount and f.refund_id not in failed}.values())


def has_failed(fact: PaymentRefunded) -> bool:
    return fact.status in ("failed", "canceled")
