"""What must hold of the money of a plan, always: pure. A break stops its collection until an admin has looked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from checkout.installments.domain import Installment
from ledger.payment import Payment
from ledger.purchase import Purchase

Contradiction = Literal["received_more_than_owed", "more_charges_than_installments", "opened_without_payment"]


@dataclass(frozen=True, kw_only=True)
class Received:
    """What payment events say. `amount`: minor units of the price, without tax, less what was refunded or lost in a
    dispute; credit at Stripe counts. `charges`: how many payments Stripe has collected and the school still has."""

    amount: int
    charges: int


def received(purchase: Purchase, currency: str) -> Received:
    settled = [each for each in purchase.settled_payments if each.settled and each.settled.currency == currency]
    kept = [(payment, _kept(payment)) for payment in settled]
    return Received(
        amount=sum(amount for _, amount in kept),
        charges=sum(amount > 0 and not payment.manual for payment, amount in kept),
    )


def _kept(payment: Payment) -> int:
    return max(payment.value - payment.refunded - payment.lost_amount, 0)


def contradiction(
    received: Received, *, price: int, installments: Sequence[Installment], opened_without_payment: bool = False
) -> Contradiction | None:
    """`price`: minor units. `opened_without_payment`: there is an enrollment, and less than what is due ever came."""
    if received.amount > price:
        return "received_more_than_owed"
    if received.charges > sum(not each.is_remainder for each in installments):
        return "more_charges_than_installments"
    return "opened_without_payment" if opened_without_payment else None


def may_charge(installment: Installment, *, received: int, price: int, installments: Sequence[Installment]) -> bool:
    """Whether all that was received, is being processed or is not owed leaves so much of the price open. Minor units.

    Payments that an admin has recorded count before their events arrive.
    """
    others = [each for each in installments if each.id != installment.id]
    paid = sum(each.amount for each in others if each.status == "paid")
    taken = sum(each.amount for each in others if each.status in ("processing", "waived"))
    return max(received, paid) + taken + installment.amount <= price
