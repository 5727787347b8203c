"""Refunds that failed: a mail to the payer, who still waits for the money, and an alert. Pure.

Checkout publishes that Stripe has refused a refund, and Stripe's own event reports one that failed later; either, or
both about the same refund. They have no reference in common, so refunds are told apart by amount and number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from uuid import UUID

from contracts.checkout import RefundFailed
from contracts.money import Money
from contracts.payments import PaymentRefunded
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
    for amount, count in _counted(facts, refused).items():
        codes = sorted({event.code for event in refused if event.amount == amount})
        for number in range(1, count + 1):
            topics = frozenset(f"refund-failed:{id}/{amount.currency}/{amount.amount}/{number}" for id in ids)
            yield _to_payer(facts, purchase.id, amount, number, topics)
            yield from purchase_alert(
                f"refund-failed/{purchase.id}/{amount.currency}/{amount.amount}/{number}",
                "alert-refund-failed",
                channels,
                facts,
                topics=sorted(topics),
                headline=f"A refund failed: {amount}",
                details={"Amount": amount, "Code": ", ".join(codes) or None},
                to_do="The money is still with us. Ask the payer how to return it, and refund it again.",
            )


def _counted(facts: PurchaseFacts, refused: Sequence[RefundFailed]) -> Counter[Money]:
    """The higher of both counts, because each source may have missed some."""
    by_checkout = Counter({event.refund_id: event.amount for event in refused}.values())
    reported = (f for f in facts.purchase.facts if isinstance(f, PaymentRefunded) and f.status == "failed")
    by_stripe = Counter({fact.refund_id: fact.amount for fact in reported if fact.amount}.values())
    return by_checkout | by_stripe


def _to_payer(facts: PurchaseFacts, purchase_id: UUID, amount: Money, number: int, topics: frozenset[str]) -> Message:
    return payer_message(
        facts,
        None,
        key=f"refund-failed/{purchase_id}/{amount.currency}/{amount.amount}/{number}",
        template="refund-failed",
        delay=DeliveryDelay.LINKED_EVENTS,
        topics=topics,
        context={"amount": amount},
    )
