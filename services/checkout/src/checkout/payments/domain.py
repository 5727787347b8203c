"""What may be given back of a payment, and who may ask for it. Pure: plain data and the time in, decisions out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

PaymentStatus = Literal["requires_payment", "processing", "succeeded", "failed", "canceled"]
RefundStatus = Literal["pending", "succeeded", "canceled", "failed"]
Origin = Literal["admin", "student", "request", "cancellation", "stripe"]
Way = Literal["stripe", "manual"]
Refusal = Literal[
    "payment_not_succeeded",
    "nothing_was_paid",
    "payment_disputed",
    "refund_window_over",
    "nothing_to_refund",
    "amount_invalid",
    "amount_too_large",
    "no_way_back",
]

NOT_MONEY = ("waiver", "promotion")
"""Methods by which a payment is settled, and no money comes."""

_RANK: dict[RefundStatus, int] = {"pending": 0, "succeeded": 1, "canceled": 2, "failed": 3}


@dataclass(frozen=True, kw_only=True)
class Paid:
    """A payment, as far as giving it back goes. Amounts are minor units.

    `refunded` is what the facts say, `reserved` our own refunds that no fact speaks of yet.
    """

    status: PaymentStatus
    amount: int
    refunded: int
    reserved: int
    method: str | None
    disputed: bool
    dispute_lost: bool
    paid_at: datetime
    way: Way | None

    @property
    def left(self) -> int:
        return max(self.amount - self.refunded - self.reserved, 0)


@dataclass(frozen=True)
class Give:
    """So much goes back (minor units), in this way."""

    amount: int
    way: Way


@dataclass(frozen=True)
class Refuse:
    code: Refusal


def refund(*, paid: Paid, wanted: int | None, now: datetime, window: timedelta | None) -> Give | Refuse:
    """What to do about a wish to give back `wanted` (None: all that is left). `window` None: at any time."""
    if paid.status != "succeeded":
        return Refuse("payment_not_succeeded")
    if not paid.amount or paid.method in NOT_MONEY:
        return Refuse("nothing_was_paid")
    if paid.disputed or paid.dispute_lost:  # the bank has the money, or may take it a second time
        return Refuse("payment_disputed")
    if window is not None and now > paid.paid_at + window:
        return Refuse("refund_window_over")
    if not paid.left:
        return Refuse("nothing_to_refund")
    if paid.way is None:
        return Refuse("no_way_back")
    amount = paid.left if wanted is None else wanted
    if amount < 1:
        return Refuse("amount_invalid")
    if amount > paid.left:
        return Refuse("amount_too_large")
    return Give(amount, paid.way)


def outranked(*statuses: RefundStatus) -> RefundStatus:
    """The last word on a refund, in whatever order they come: one that failed does not succeed any more."""
    return max(statuses, key=_RANK.__getitem__)
