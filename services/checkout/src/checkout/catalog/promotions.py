"""Decides what a promotion code takes off a price. Pure: codes, prices and the time in, an amount or a refusal out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

from contracts.money import Money
from contracts.people import ItemKind

RefusalCode = Literal[
    "promotion_unknown",
    "promotion_inactive",
    "promotion_changed",
    "promotion_not_yet",
    "promotion_over",
    "promotion_not_for_this",
    "promotion_currency_mismatch",
    "promotion_used_up",
    "promotion_used_by_you",
    "promotion_own_referral",
    "promotion_not_for_guests",
    "promotion_held_by_guests",
]


class Sold(Protocol):
    """The fields of an item that matter here."""

    @property
    def kind(self) -> ItemKind: ...
    @property
    def slug(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """A code: `percent_off` or `amount_off` (minor units of `currency`). It applies to what `kinds` or `items` (slugs)
    name; when both are None, to everything. Valid from `valid_from` (inclusive) until `valid_until` (exclusive); None:
    no limit. `uses` are reserved or redeemed, `guest_holds` those of them that guests have reserved and not paid."""

    id: UUID
    code: str
    percent_off: int | None = None
    amount_off: int | None = None
    currency: str | None = None
    kinds: tuple[str, ...] | None = None
    items: tuple[str, ...] | None = None
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    most_uses: int | None = None
    most_per_student: int | None = None
    uses: int = 0
    guest_holds: int = 0
    referrer_id: UUID | None = None
    active: bool = True

    def is_for(self, item: Sold) -> bool:
        """A bundle is an item of its own: a code for one of its parts does not apply to it."""
        if self.kinds is None and self.items is None:
            return True
        return item.kind in (self.kinds or ()) or item.slug in (self.items or ())

    @property
    def guests_may_hold(self) -> int | None:
        """How many uses guests may reserve at a time: half of what is left of a limited code, but at least one. Nobody
        needs an account to be a guest, so they must not be able to reserve all of it. None: no limit."""
        if self.most_uses is None:
            return None
        left = self.most_uses - (self.uses - self.guest_holds)
        return max(1, left // 2)

    def off(self, price: Money) -> Money:
        """The discount, without checking whether the code applies: whole minor units, a percentage rounded down, and at
        most the price."""
        amount = self.amount_off or price.amount * (self.percent_off or 0) // 100
        return Money(amount=min(amount, price.amount), currency=price.currency)


@dataclass(frozen=True)
class Refused:
    code: RefusalCode


def discount(
    *,
    promotion: Promotion | None,
    item: Sold,
    price: Money,
    now: datetime,
    student_id: UUID,
    used_by_student: int,
    guest: bool = False,
) -> Money | Refused:
    """What the code takes off this price for this student, who has used it `used_by_student` times. (A guest's earlier
    uses and own referral code are not known.)"""
    if promotion is None:
        return Refused("promotion_unknown")
    if not promotion.active:
        return Refused("promotion_inactive")
    if promotion.valid_from is not None and now < promotion.valid_from:
        return Refused("promotion_not_yet")
    if promotion.valid_until is not None and now >= promotion.valid_until:
        return Refused("promotion_over")
    if not promotion.is_for(item):
        return Refused("promotion_not_for_this")
    if promotion.currency is not None and promotion.currency != price.currency:
        return Refused("promotion_currency_mismatch")
    if guest and (promotion.referrer_id is not None or promotion.most_per_student is not None):
        return Refused("promotion_not_for_guests")
    if promotion.referrer_id == student_id:
        return Refused("promotion_own_referral")
    if promotion.most_uses is not None and promotion.uses >= promotion.most_uses:
        return Refused("promotion_used_up")
    if guest and promotion.guests_may_hold is not None and promotion.guest_holds >= promotion.guests_may_hold:
        return Refused("promotion_held_by_guests")
    if promotion.most_per_student is not None and used_by_student >= promotion.most_per_student:
        return Refused("promotion_used_by_you")
    return promotion.off(price)
