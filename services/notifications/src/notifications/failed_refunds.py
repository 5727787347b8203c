"""Refunds that failed: a mail to the payer, who still waits for the money, and an alert. Pure.

Checkout publishes that Stripe has refused a refund, and Stripe's own event reports one that failed later; either, or
both about the same refund. They have no reference in common, so refunds are told apart by amount and number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from contracts.checkout import RefundFailed
from contracts.money import Money
from contracts.payments import PaymentRefunded
from contracts.people import Payer
from ledger.payment import Payment
from notifications.alerts import purchase_alert
from notifications.message import Channel, DeliveryDelay, Message
from notifications.payer_message import payer_message
from notifications.student_facts import PurchaseFacts


def failed_refund_messages(facts: PurchaseFacts, channels: Sequence[Channel]) -> Iterator[Message]:
    purchase, enrollment = facts.purchase, facts.enrollment
    if purchase.id is None:
        return
    ids = {fact.purchase_id for fact in purchase.facts if fact.purchase_id}
    refused = [event for event in enrollment.facts.of(RefundFailed) if event.purchase_id in ids]
    for (payer, amount), count in _counted(facts, refused).items():
        payment = None if payer == enrollment.payer(purchase) else _payment_of(facts, payer)
        codes = sorted({event.code for event in refused if event.amount == amount})
        of = "" if payment is None else f"{payer}/"
        for number in range(1, count + 1):
            refund = f"{of}{amount.currency}/{amount.amount}/{number}"
            topics = frozenset(f"refund-failed:{id}/{refund}" for id in ids)
            key = f"refund-failed/{purchase.id}/{refund}"
            yield _to_payer(facts, payment, amount, key, topics)
            yield from purchase_alert(
                key,
                "alert-refund-failed",
                channels,
                facts,
                topics=sorted(topics),
                headline=f"A refund failed: {amount}",
                details={"Amount": amount, "Code": ", ".join(codes) or None},
                to_do="The money is still with us. Ask the payer how to return it, and refund it again.",
            )


def _payment_of(facts: PurchaseFacts, payer: Payer) -> Payment | None:
    """Of the payer of a co-pay. (None only until the events of the payment have arrived.)"""
    payments = facts.purchase.payments
    return next((each for each in payments if facts.enrollment.payer(facts.purchase, each) == payer), None)


def _counted(facts: PurchaseFacts, refused: Sequence[RefundFailed]) -> Counter[tuple[Payer, Money]]:
    """By payer, the higher of both counts, because each source may have missed some."""
    purchase, enrollment = facts.purchase, facts.enrollment
    own = enrollment.payer(purchase)
    by_checkout = Counter({event.refund_id: (event.payer or own, event.amount) for event in refused}.values())
    by_stripe = Counter(
        {
            fact.refund_id: (enrollment.payer(purchase, payment), fact.amount)
            for payment in purchase.payments
            for fact in payment.facts
            if isinstance(fact, PaymentRefunded) and fact.status == "failed" and fact.amount
        }.values()
    )
    return by_checkout | by_stripe


def _to_payer(
    facts: PurchaseFacts, payment: Payment | None, amount: Money, key: str, topics: frozenset[str]
) -> Message:
    return payer_message(
        facts,
        payment,
        key=key,
        template="refund-failed",
        delay=DeliveryDelay.LINKED_EVENTS,
        topics=topics,
        context={"amount": amount},
    )
