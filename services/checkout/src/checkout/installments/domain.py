"""Installments: which plan, what is due when, and what payment events make of them. Pure: plain data and the time in,
decisions out."""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Generic, Literal, TypeVar
from uuid import UUID

from checkout.cancellation_policy import RefundStep
from checkout.catalog.item import Item, PaymentPlan
from checkout.purchases.domain import split
from contracts.money import Money
from contracts.people import Payer

if TYPE_CHECKING:
    from checkout.installments.rules import Rules

InstallmentKind = Literal["full", "deposit", "installment", "co_pay", "remainder"]
"""`co_pay`: the student's share of what a sponsor pays for; `remainder`: everything left to pay, in one payment; it
stands for the other open installments."""
InstallmentStatus = Literal["open", "processing", "overdue", "paused", "paid", "waived", "canceled"]
End = Literal["ended", "refunded", "disputed", "expired"]
"""Why a purchase is over: a student or the school ended it, its money was refunded, a dispute took its money, or it was
never paid."""
ClosedBecause = Literal[End, "covered"]
"""Its purchase is over, or another payment covered it."""
ManualMethod = Literal["cash", "check", "bank_transfer", "waiver"]

PAYABLE: tuple[InstallmentStatus, ...] = ("open", "overdue", "paused")
"""Still owed, and no payment is being processed."""
DONE: tuple[InstallmentStatus, ...] = ("paid", "waived", "canceled")

FULL = PaymentPlan(type="full")
CO_PAY_TERM = timedelta(days=14)
"""How long a student has to pay a co-pay once the sponsor has paid."""
MIN_AMOUNT = 50
"""The smallest installment, in minor units."""


# --- what is stored ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Installment:
    """One amount due of a purchase. `amount` is minor units.

    next_attempt_at: when the timer acts on it next; None: not by itself
    timers:          how many timers have fired; an older timer's job is void
    attempts:        failed charges, or the invoice and its reminders, in this round
    asked:           how many intents and invoices were created for it, one at a time
    round:           counts the times that it was reopened; events and Stripe objects name the round
    losses:          how many payments of it were taken back by a dispute
    announced_round: the last round in which it was announced
    charged_at:      when the timer charged it last, in which job (charge_key) and with which method (charged_method)
    pay_page:        where it can always be paid; pay_url: where it is best paid now
    """

    id: UUID
    purchase_id: UUID
    student_id: UUID
    position: int
    kind: InstallmentKind
    amount: int
    currency: str
    due_at: datetime
    status: InstallmentStatus
    attempts: int = 0
    next_attempt_at: datetime | None = None
    timers: int = 0
    asked: int = 0
    failed_debits: int = 0
    round: int = 1
    closed_because: ClosedBecause | None = None
    stripe_payment_intent_id: str | None = None
    stripe_invoice_id: str | None = None
    client_secret: str | None = None
    pay_url: str | None = None
    pay_page: str | None = None
    failure_code: str | None = None
    losses: int = 0
    announced_round: int = 0
    charged_at: datetime | None = None
    charge_key: str | None = None
    charged_method: str | None = None
    paid_at: datetime | None = None
    created_at: datetime
    updated_at: datetime

    @property
    def money(self) -> Money:
        return Money(amount=self.amount, currency=self.currency)

    @property
    def reference(self) -> str:
        """By which events and Stripe objects name the installment, in its present round."""
        return f"{self.id}:{self.round}"

    @property
    def is_remainder(self) -> bool:
        return self.kind == "remainder"

    @property
    def is_co_pay(self) -> bool:
        return self.kind == "co_pay"

    def payer_of(self, purchase_payer: Payer) -> Payer:
        """Who pays it, of a purchase with this payer."""
        return "student" if self.is_co_pay else purchase_payer

    @property
    def is_payable(self) -> bool:
        return self.status in PAYABLE

    @property
    def is_requested(self) -> bool:
        """Whether the payer has an intent or an invoice to pay it with."""
        return bool(self.stripe_payment_intent_id or self.stripe_invoice_id)

    @property
    def saves_method(self) -> bool:
        """Paid by an intent, which saves the payment method: the first installment, while its student has to pay it."""
        never_collected = self.round == 1 and not self.timers and self.stripe_invoice_id is None
        return self.position == 1 and not self.is_remainder and never_collected

    @property
    def awaits_first_payment(self) -> bool:
        """The first installment is paid by the student, not charged by a timer."""
        return self.status == "open" and self.next_attempt_at is None and self.timers == 0


@dataclass(frozen=True, kw_only=True)
class ManualPayment:
    """Money that did not come through Stripe, as an admin recorded it. `amount` is minor units, also of a waiver."""

    id: UUID
    student_id: UUID
    purchase_id: UUID
    installment_id: UUID
    method: ManualMethod
    transaction_reference: str
    notes: str | None
    amount: int
    currency: str
    recorded_by: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class Cancellation:
    """A purchase that the school canceled, and the refund. Amounts are minor units."""

    purchase_id: UUID
    student_id: UUID
    reason: str
    paid: int
    refunded: int
    currency: str
    canceled_by: str


# --- which plan, and what is due when ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PlannedInstallment:
    position: int
    kind: InstallmentKind
    amount: Money
    due_at: datetime


def detect_plan(item: Item, member_tier: str | None, rules: Rules) -> PaymentPlan:
    """The item's own plan; else, if the item allows it, the plan of the first rule that matches; else in full."""
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


def applicable_plan(plan: PaymentPlan, amount: Money) -> PaymentPlan:
    """The plan, or payment in full if its installments would be too small."""
    return plan if min(split(plan, amount), default=0) >= MIN_AMOUNT else FULL


def plan_installments(plan: PaymentPlan, amount: Money, start: datetime) -> list[PlannedInstallment]:
    """The installments of `amount`: they add up to it exactly, and the first is due at `start`. Empty for zero.

    Raises ValueError if the plan cannot split the amount.
    """
    if not amount.amount:
        return []
    parts = split(plan, amount)
    if not parts:
        raise ValueError(f"{amount} cannot be paid by {plan.type}")
    return [
        PlannedInstallment(
            position=n + 1,
            kind=_kind(plan, n),
            amount=Money(amount=each, currency=amount.currency),
            due_at=_due_at(plan, start, n),
        )
        for n, each in enumerate(parts)
    ]


def sponsored_installments(amount: Money, co_pay: Money | None, due_at: datetime) -> list[PlannedInstallment]:
    """The sponsor's invoice and the student's co-pay, if there is one. It is owed when the sponsor has paid."""
    if co_pay is None:
        return [PlannedInstallment(position=1, kind="full", amount=amount, due_at=due_at)]
    return [
        PlannedInstallment(position=1, kind="full", amount=amount - co_pay, due_at=due_at),
        PlannedInstallment(position=2, kind="co_pay", amount=co_pay, due_at=due_at + CO_PAY_TERM),
    ]


def waits_for_sponsor(installment: Installment, installments: Sequence[Installment]) -> bool:
    """Whether it is a co-pay that is not owed yet. `installments`: of its purchase."""
    return installment.is_co_pay and any(each.status != "paid" for each in installments if each.position == 1)


def months_later(start: datetime, months: int) -> datetime:
    """The same day `months` later, or that month's last day if it has no such day."""
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    day = min(start.day, calendar.monthrange(year, month + 1)[1])
    return start.replace(year=year, month=month + 1, day=day)


def _kind(plan: PaymentPlan, n: int) -> InstallmentKind:
    match plan.type:
        case "full":
            return "full"
        case "deposit_installments" if n == 0:
            return "deposit"
        case _:
            return "installment"


def _due_at(plan: PaymentPlan, start: datetime, n: int) -> datetime:
    if plan.interval_days is not None:
        return start + n * timedelta(days=plan.interval_days)
    return months_later(start, n)


# --- one installment --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class InstallmentFacts:
    """What payment events say of an installment.

    settled:        all of it was received, and not lost in a dispute
    losses:         how many payments of it were lost in disputes
    failed_debits:  how many bank debits failed after they had been processing; debit_code: why the latest did
    end:            why its purchase is over
    refund_failed:  money of its purchase was to be refunded, and was not
    covered:        a later payment of the remainder paid for it
    """

    settled: bool = False
    waived: bool = False
    processing: bool = False
    losses: int = 0
    failed_debits: int = 0
    debit_code: str = "unknown"
    end: End | None = None
    refund_failed: bool = False
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
    """Its purchase continues after all: a payment arrived late, or an appeal was won."""


@dataclass(frozen=True)
class OweAgain:
    """The payer's bank took the payment back: it is overdue, in a new round."""


@dataclass(frozen=True)
class DebitFailed:
    """A debit failed after processing; it counts as an attempt. `code`: Stripe's."""

    failed: int
    code: str


Decision = Keep | Become | Close | Reopen | OweAgain | DebitFailed


def decide(installment: Installment, facts: InstallmentFacts) -> Decision:
    """How the installment changes. The same facts again change nothing, and what is paid stays paid."""
    if facts.settled:
        wanted: Literal["paid", "waived"] = "waived" if facts.waived else "paid"
        return Keep() if installment.status in ("paid", "waived") else Become(wanted)
    if installment.status in ("paid", "waived"):  # without an event yet: recorded by an admin a moment ago
        return OweAgain() if facts.losses > installment.losses and facts.end is None else Keep()
    if installment.status == "canceled":
        return Reopen() if _continues(installment, facts) else Keep()
    if facts.processing:  # a paused installment stays paused, also if the payment fails
        return Keep() if installment.status in ("processing", "paused") else Become("processing")
    if facts.failed_debits > installment.failed_debits and facts.end is None:
        return DebitFailed(facts.failed_debits, facts.debit_code)
    if installment.status == "processing" and installment.stripe_invoice_id is not None:
        return Keep()  # Stripe has said so; its result is asked for when an event of it arrives
    if facts.end is not None:
        return Close(facts.end)
    if facts.covered:
        return Close("covered")
    return Keep()


def _continues(installment: Installment, facts: InstallmentFacts) -> bool:
    """Whether a closed installment is owed again: not after an end that a person wanted, nor for a failed refund."""
    if facts.end is not None or facts.covered:
        return False
    match installment.closed_because:
        case "expired" | "disputed":
            return True
        case "refunded":
            return not facts.refund_failed
        case _:
            return False


# --- canceling --------------------------------------------------------------------------------------------------------


def refund_by_policy(
    *, policy: Sequence[RefundStep], paid: int, refunded: int, first_paid_at: datetime | None, now: datetime
) -> int:
    """Minor units to refund now: the policy's share of everything paid, less what was refunded before."""
    if first_paid_at is None:
        return 0
    passed = now - first_paid_at
    percent = next((step.percent for step in policy if passed <= timedelta(days=step.days)), 0)
    return max(paid * percent // 100 - refunded, 0)


P = TypeVar("P")


@dataclass(frozen=True)
class RefundShare(Generic[P]):
    """How much of one payment is refunded, in minor units."""

    payment: P
    amount: int


def allocate_in_proportion(amount: int, refundable: Sequence[tuple[P, int]]) -> list[RefundShare[P]]:
    """Takes from each payment the same part of what is refundable. Raises ValueError if the amount exceeds it."""
    total = sum(most for _, most in refundable)
    if amount > total:
        raise ValueError("exceeds the refundable balance")
    shares = {payment: amount * most // total for payment, most in refundable} if total else {}
    for payment, most in refundable:
        shares[payment] += min(amount - sum(shares.values()), most - shares[payment], 1)
    return [RefundShare(payment, share) for payment, share in shares.items() if share]


def allocate_refund(amount: int, refundable: Sequence[tuple[P, int]]) -> list[RefundShare[P]]:
    """Takes the amount from the payments in this order. Raises ValueError if it exceeds what is refundable."""
    shares = []
    for payment, most in refundable:
        if (share := min(amount, most)) > 0:
            shares.append(RefundShare(payment, share))
            amount -= share
    if amount > 0:
        raise ValueError("exceeds the refundable balance")
    return shares
