"""Whether all money of a purchase was gone at some time: refunded, or lost in disputes.

It is decided as of each refund and each lost dispute, so that money which arrives later does not open what had ended,
and that neither the order of the events' arrival nor a refund which arrives before its payment makes a difference.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from ledger.payment import LATEST, LostDispute, Payment
from ledger.policy import Policy

CLOCKS_DIFFER_BY = timedelta(minutes=5)
"""Events of Stripe and our own have the times of different clocks. What is received so soon after a refund may have
been received before it."""
Loss = Literal["refunded", "dispute_lost"]


def lost_by(payments: Sequence[Payment], policy: Policy, *, in_installments: bool, renews: bool) -> Loss | None:
    """`payments`: settled ones.

    A lost dispute of a single payment is a loss, however much it is of. Of a plan or a membership, it counts by its
    amount, and not at all if a bank has returned a debit: that installment is owed again.
    """
    disputes = [(payment, dispute) for payment in payments for dispute in payment.lost_disputes]
    if not policy.lost_dispute_withdraws:
        disputes = []
    if disputes and not in_installments and not renews:
        return "dispute_lost"
    counted = [(payment, dispute) for payment, dispute in disputes if not dispute.is_return]
    times = {dispute.at for _, dispute in counted}
    if policy.full_refund_withdraws:
        times |= frozenset[datetime]().union(*(payment.refund_times for payment in payments))
    if any(_is_gone(payments, counted, policy, time) for time in times):
        return "dispute_lost" if counted else "refunded"
    return None


def _is_gone(
    payments: Sequence[Payment], disputes: Sequence[tuple[Payment, LostDispute]], policy: Policy, time: datetime
) -> bool:
    received: dict[str, int] = defaultdict(int)
    gone: dict[str, int] = defaultdict(int)
    for payment in payments:
        if payment.settled is None or payment.received_at > _later(time):
            continue
        received[payment.settled.currency] += payment.settled.amount
        refunded = payment.refunded_by(time) if policy.full_refund_withdraws else 0
        lost = sum(dispute.amount for of, dispute in disputes if of is payment and dispute.at <= time)
        gone[payment.settled.currency] += min(refunded + lost, payment.settled.amount)
    amounts = {currency: amount for currency, amount in received.items() if amount > 0}
    return bool(amounts) and all(
        gone[currency] * 100 >= amount * policy.full_refund_percent for currency, amount in amounts.items()
    )


def _later(time: datetime) -> datetime:
    return time if time == LATEST else time + CLOCKS_DIFFER_BY
