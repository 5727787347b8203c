"""Decides which Stripe call a membership change needs, and what an event changes of the stored membership. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from checkout.purchases.domain import Interval
from contracts.money import Money
from contracts.payments import SubscriptionChanged, SubscriptionStatus

RefusalCode = Literal[
    "membership_ended",
    "membership_paused",
    "nothing_to_change",
    "payment_due",
    "currency_mismatch",
    "resumes_in_the_past",
]
At = Literal["period_end", "now"]

ENDED: tuple[SubscriptionStatus, ...] = ("canceled", "incomplete_expired")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# --- changing the subscription ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SubscriptionState:
    """A membership's subscription at Stripe: see StripeMembership, whose fields these are."""

    status: SubscriptionStatus
    tier: str | None
    interval: Interval
    amount: Money
    cancel_at_period_end: bool
    cancel_dated: bool
    paused: bool
    resumes_at: datetime | None = None
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
class NoChange:
    """It is so already: the request was sent twice, or its answer was lost."""


@dataclass(frozen=True)
class End:
    """Cancels the subscription now."""


@dataclass(frozen=True)
class Restart:
    """Resumes a subscription that is paused as a whole."""


@dataclass(frozen=True)
class Change:
    """Updates the subscription with these parameters."""

    params: Mapping[str, object]


Decision = Refuse | NoChange | End | Restart | Change


def cancel(state: SubscriptionState, *, at: At) -> Decision:
    if state.ended or (at == "period_end" and state.cancel_at_period_end):
        return NoChange()
    return End() if at == "now" else Change({"cancel_at_period_end": True})


def pause(state: SubscriptionState, *, resumes_at: datetime | None, now: datetime) -> Decision:
    """While paused, Stripe voids what it would charge. What was owed before stays owed.

    `resumes_at`: when it ends by itself; None: not until it is resumed. Sent again, it changes that.
    """
    if state.ended:
        return Refuse("membership_ended")
    if resumes_at is not None and resumes_at <= now:
        return Refuse("resumes_in_the_past")
    until = None if resumes_at is None else resumes_at.replace(microsecond=0)
    if state.halted or (state.paused and state.resumes_at == until):
        return NoChange()
    if not state.paid_up and not state.paused:
        return Refuse("payment_due")
    behavior = {"behavior": "void"}
    return Change(
        {"pause_collection": behavior if until is None else {**behavior, "resumes_at": int(until.timestamp())}}
    )


def resume(state: SubscriptionState) -> Decision:
    """Undoes a pause, and a cancellation at the period's end. Resuming in a period that was not charged starts a new
    period, which is paid at once."""
    if state.ended:
        return Refuse("membership_ended")
    if state.halted:
        return Restart()
    params: dict[str, object] = {}
    if state.cancel_at_period_end:
        params |= {"cancel_at": ""} if state.cancel_dated else {"cancel_at_period_end": False}
    if state.paused:
        params["pause_collection"] = ""
        if state.unpaid_period:
            params |= {
                "billing_cycle_anchor": {"type": "now"},
                "proration_behavior": "none",
                "payment_behavior": "error_if_incomplete",
            }
    return Change(params) if params else NoChange()


def may_change(state: SubscriptionState, *, tier: str, interval: Interval, price: Money) -> Refuse | NoChange | None:
    """None: it may. What is owed has to be paid first: Stripe would credit time that nobody has paid for."""
    if state.ended:
        return Refuse("membership_ended")
    if (state.tier, state.interval) == (tier, interval):
        return NoChange()
    if state.paused:
        return Refuse("membership_paused")
    if not state.paid_up:
        return Refuse("payment_due")
    return Refuse("currency_mismatch") if price.currency != state.amount.currency else None


def change(
    state: SubscriptionState,
    *,
    item_id: str,
    price_id: str,
    price: Money,
    interval: Interval,
    metadata: Mapping[str, str],
) -> Change:
    """A higher price, or another interval, is paid at once or does not change at all; a lower price is a credit on the
    next invoice."""
    params: dict[str, object] = {"items": [{"id": item_id, "price": price_id}], "metadata": dict(metadata)}
    if interval != state.interval or price.amount > state.amount.amount:
        params |= {"proration_behavior": "always_invoice", "payment_behavior": "error_if_incomplete"}
    else:
        params["proration_behavior"] = "create_prorations"
    return Change(params)


# --- storing what events report ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class MembershipState:
    """What checkout stores of a membership's subscription."""

    status: SubscriptionStatus
    tier: str
    cancel_at_period_end: bool
    paused: bool
    current_period_end: datetime | None
    ended_at: datetime | None

    @property
    def ended(self) -> bool:
        return self.status in ENDED


def state_of(event: SubscriptionChanged, *, tier: str) -> MembershipState:
    """What the event reports. `tier`: the one to keep where the event names none."""
    return MembershipState(
        status=event.status,
        tier=event.tier or tier,
        cancel_at_period_end=event.cancel_at_period_end,
        paused=event.collection_paused,
        current_period_end=event.current_period_end,
        ended_at=event.ended_at,
    )


def time_of(event: SubscriptionChanged) -> datetime:
    """An event without a time is older than any other."""
    return event.as_of or _EPOCH


def update(
    stored: MembershipState, stored_as_of: datetime, event: SubscriptionChanged
) -> tuple[MembershipState, datetime] | None:
    """The state after the latest event of all that have arrived, and its time. None: nothing changes.

    The stored state may be newer than any event: what is read at Stripe is stored at once.
    """
    as_of, state = time_of(event), state_of(event, tier=stored.tier)
    if stored.ended and not state.ended:
        return None  # an end is final; it was read at Stripe before its event arrived
    if stored.ended == state.ended and as_of < stored_as_of:
        return None
    after = state, max(as_of, stored_as_of)
    return None if after == (stored, stored_as_of) else after
