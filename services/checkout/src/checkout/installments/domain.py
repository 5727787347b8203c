"""What is due, when, and what becomes of it. Pure: plain data and the time in, decisions out."""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from checkout.cancellation_policy import RefundStep
from checkout.catalog.item import Item, PaymentPlan
from contracts.money import Money

if TYPE_CHECKING:
    from checkout.installments.rules import Rules

Kind = Literal["full", "deposit", "installment", "subscription", "remainder"]
Status = Literal["open", "processing", "overdue", "paused", "paid", "waived", "canceled"]
ClosedBecause = Literal["ended", "covered"]
"""Its purchase has ended, or another payment has paid for it."""

PAYABLE: tuple[Status, ...] = ("open", "overdue", "paused")
"""Nothing is on its way for it, and it is still owed."""
DONE: tuple[Status, ...] = ("paid", "waived", "canceled")

FULL = PaymentPlan(type="full")
LEAST = 50
"""Minor units: less than that, no due is asked for."""
RETRIES = (timedelta(days=1), timedelta(days=2), timedelta(days=4))
"""From one attempt to the next: 1, 3 and 7 days after the first."""
NEVER = "not_paid"
"""The code of a failure where nothing was tried: whoever was asked has not paid."""


# --- which plan, and what is due when ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Due:
    position: int
    kind: Kind
    amount: Money
    due_at: datetime


def detect_plan(item: Item, member_tier: str | None, rules: Rules) -> PaymentPlan:
    """The item's own plan; else, where it leaves that to the rules, the first one that fits; else all at once."""
    if item.payment_plan is not None:
        return item.payment_plan
    if not item.auto_assign_payment_plan:
        return FULL
    for rule in rules.rules:
        if item.kind not in rule.kinds or rule.members not in (None, member_tier is not None):
            continue
        if rule.currency is not None and rule.currency != item.currency:
            continue
        if (rule.from_ or 0) <= item.price and (rule.below is None or item.price < rule.below):
            return rule.plan
    return FULL


def fitting(plan: PaymentPlan, amount: Money) -> PaymentPlan:
    """The plan, or all at once where an amount this small cannot be split by it."""
    return plan if min(_amounts(plan, amount), default=0) >= LEAST else FULL


def schedule(plan: PaymentPlan, amount: Money, start: datetime) -> list[Due]:
    """What is due and when: together exactly the amount, the first at the start; nothing for an amount of nothing.

    Raises ValueError for an amount that the plan cannot split.
    """
    if not amount.amount:
        return []
    split = _amounts(plan, amount)
    if not split:
        raise ValueError(f"{amount} cannot be paid by {plan.type}")
    return [
        Due(
            position=n + 1,
            kind=_kind(plan, n),
            amount=Money(amount=each, currency=amount.currency),
            due_at=_moment(plan, start, n),
        )
        for n, each in enumerate(split)
    ]


def months_later(start: datetime, months: int) -> datetime:
    """The same day so many months later, or the month's last where it has no such day."""
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    day = min(start.day, calendar.monthrange(year, month + 1)[1])
    return start.replace(year=year, month=month + 1, day=day)


def _amounts(plan: PaymentPlan, amount: Money) -> list[int]:
    """Empty when it cannot be split so."""
    deposit = (amount.amount * plan.deposit_percent + 99) // 100 if plan.deposit_percent else 0
    rest = Money(amount=amount.amount - deposit, currency=amount.currency)
    try:
        parts = [part.amount for part in rest.installments(plan.installments or 1)]
    except ValueError:
        return []
    return [deposit, *parts] if deposit else parts


def _kind(plan: PaymentPlan, n: int) -> Kind:
    match plan.type:
        case "full":
            return "full"
        case "subscription":
            return "subscription"
        case "deposit_installments" if n == 0:
            return "deposit"
        case _:
            return "installment"


def _moment(plan: PaymentPlan, start: datetime, n: int) -> datetime:
    if plan.interval_days is not None:
        return start + n * timedelta(days=plan.interval_days)
    return months_later(start, n)


# --- one due ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Again:
    """The timer acts on it again, then."""

    at: datetime


@dataclass(frozen=True)
class GiveUp:
    """That was the last time: it is overdue, until somebody pays."""


def after_attempt(*, attempts: int, now: datetime) -> Again | GiveUp:
    """What follows the `attempts`-th attempt (from 1), which brought no money."""
    if attempts > len(RETRIES):
        return GiveUp()
    return Again(now + RETRIES[max(attempts, 1) - 1])


@dataclass(frozen=True, kw_only=True)
class Row:
    """A due as it is kept."""

    status: Status
    closed_because: ClosedBecause | None = None
    failed_debits: int = 0


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the facts say of it. `failed_debits`: how many debits that were on their way have failed. `ended`: its
    purchase is over. `covered`: a later payment of all that was left has paid for it."""

    settled: bool = False
    waived: bool = False
    under_way: bool = False
    failed_debits: int = 0
    ended: bool = False
    covered: bool = False


@dataclass(frozen=True)
class Keep:
    pass


@dataclass(frozen=True)
class Become:
    status: Literal["processing", "paid", "waived"]


@dataclass(frozen=True)
class Close:
    because: ClosedBecause


@dataclass(frozen=True)
class Reopen:
    """Its purchase goes on after all: a payment came late, or a refund failed."""


@dataclass(frozen=True)
class DebitFailed:
    """What was on its way did not come: that was an attempt."""

    failed: int


Decision = Keep | Become | Close | Reopen | DebitFailed


def follow(row: Row, told: Told) -> Decision:
    """What the facts make of a due. The same facts again change nothing, and what is paid stays paid."""
    if told.settled:
        wanted: Literal["paid", "waived"] = "waived" if told.waived else "paid"
        return Keep() if row.status in ("paid", "waived") else Become(wanted)
    if row.status in ("paid", "waived"):
        return Keep()  # recorded by hand; its event is on its way
    if row.status == "canceled":
        gone = told.ended or told.covered or row.closed_because == "covered"
        return Keep() if gone else Reopen()
    if told.under_way:  # what is paused stays so, whatever becomes of it
        return Keep() if row.status in ("processing", "paused") else Become("processing")
    if told.ended:
        return Close("ended")
    if told.covered:
        return Close("covered")
    if told.failed_debits > row.failed_debits:
        return DebitFailed(told.failed_debits)
    return Keep()


# --- canceling -------------------------------------------------------------------------------------------------------


def refund_by_policy(
    *, policy: Sequence[RefundStep], paid: int, refunded: int, first_paid_at: datetime | None, now: datetime
) -> int:
    """Minor units that go back now: the policy's part of all that was paid, less what went back before."""
    if first_paid_at is None:
        return 0
    passed = now - first_paid_at
    percent = next((step.percent for step in policy if passed <= timedelta(days=step.days)), 0)
    return max(paid * percent // 100 - refunded, 0)


P = TypeVar("P")


@dataclass(frozen=True)
class Part(Generic[P]):
    """So much of one payment."""

    payment: P
    amount: int


def spread(amount: int, left: Sequence[tuple[P, int]]) -> list[Part[P]]:
    """Which payment (in this order) gives how much of the amount. Raises ValueError when that is more than is left."""
    parts = []
    for payment, most in left:
        if (given := min(amount, most)) > 0:
            parts.append(Part(payment, given))
            amount -= given
    if amount > 0:
        raise ValueError("more than is left")
    return parts
