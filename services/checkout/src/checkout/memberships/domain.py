"""What to ask of Stripe for a membership that somebody wants otherwise. Pure: how it stands in, a decision out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from checkout.purchases.domain import Interval
from contracts.money import Money
from contracts.payments import SubscriptionStatus

RefusalCode = Literal["membership_ended", "membership_paused", "nothing_to_change", "payment_due", "currency_mismatch"]
At = Literal["period_end", "now"]


@dataclass(frozen=True, kw_only=True)
class Stands:
    """How a membership stands at Stripe: see StripeMembership, whose fields these are."""

    status: SubscriptionStatus
    tier: str | None
    interval: Interval
    amount: Money
    cancel_at_period_end: bool
    cancel_dated: bool
    paused: bool
    halted: bool
    unpaid_period: bool
    ended: bool

    @property
    def paid_up(self) -> bool:
        return self.status in ("active", "trialing")


@dataclass(frozen=True)
class Refuse:
    code: RefusalCode


@dataclass(frozen=True)
class AsItIs:
    """It is so already: a request that was sent twice, or whose answer was lost."""


@dataclass(frozen=True)
class End:
    """Ends the subscription now."""


@dataclass(frozen=True)
class Restart:
    """Ends a halt of the subscription."""


@dataclass(frozen=True)
class Change:
    """Changes the subscription by these parameters."""

    params: Mapping[str, Any]


Decision = Refuse | AsItIs | End | Restart | Change


def cancel(stands: Stands, *, at: At) -> Decision:
    if stands.ended or (at == "period_end" and stands.cancel_at_period_end):
        return AsItIs()
    return End() if at == "now" else Change({"cancel_at_period_end": True})


def pause(stands: Stands) -> Decision:
    """While it lasts, Stripe voids what it would charge. What is owed from before stays owed."""
    if stands.ended:
        return Refuse("membership_ended")
    if stands.paused:
        return AsItIs()
    return Change({"pause_collection": {"behavior": "void"}}) if stands.paid_up else Refuse("payment_due")


def resume(stands: Stands) -> Decision:
    """Takes back a pause, and a cancel that is to come. Whoever comes back in a period that was not charged begins a
    new one now, and pays for it at once."""
    if stands.ended:
        return Refuse("membership_ended")
    if stands.halted:
        return Restart()
    params: dict[str, Any] = {}
    if stands.cancel_at_period_end:
        params |= {"cancel_at": ""} if stands.cancel_dated else {"cancel_at_period_end": False}
    if stands.paused:
        params["pause_collection"] = ""
        if stands.unpaid_period:
            params |= {
                "billing_cycle_anchor": {"type": "now"},
                "proration_behavior": "none",
                "payment_behavior": "error_if_incomplete",
            }
    return Change(params) if params else AsItIs()


def may_change(stands: Stands, *, tier: str, interval: Interval, price: Money) -> Refuse | AsItIs | None:
    """None: it may. What is owed is paid first: Stripe would credit time that nobody has paid for."""
    if stands.ended:
        return Refuse("membership_ended")
    if (stands.tier, stands.interval) == (tier, interval):
        return AsItIs()
    if stands.paused:
        return Refuse("membership_paused")
    if not stands.paid_up:
        return Refuse("payment_due")
    return Refuse("currency_mismatch") if price.currency != stands.amount.currency else None


def change(
    stands: Stands, *, item_id: str, price_id: str, price: Money, interval: Interval, metadata: Mapping[str, str]
) -> Change:
    """What costs more, and another interval, is paid at once and not at all without it; what costs less is a credit in
    the next invoice."""
    params: dict[str, Any] = {"items": [{"id": item_id, "price": price_id}], "metadata": dict(metadata)}
    if interval != stands.interval or price.amount > stands.amount.amount:
        params |= {"proration_behavior": "always_invoice", "payment_behavior": "error_if_incomplete"}
    else:
        params["proration_behavior"] = "create_prorations"
    return Change(params)
