"""Payments and refunds as stored, and the rules for refunding. Pure: plain data and the time in, decisions out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from contracts.money import Money
from contracts.payments import DisputeStatus
from contracts.people import ItemKind, Payer

PaymentStatus = Literal["requires_payment", "processing", "succeeded", "failed", "canceled"]
RefundStatus = Literal["pending", "succeeded", "canceled", "failed"]
RefundRequestStatus = Literal["pending", "approved", "rejected"]
RefundOrigin = Literal["admin", "student", "request", "cancellation", "stripe"]
RefundChannel = Literal["stripe", "manual"]
"""Through Stripe, or by hand for money that never went through Stripe."""
Refusal = Literal[
    "payment_not_succeeded",
    "nothing_was_paid",
    "payment_disputed",
    "refund_window_over",
    "nothing_to_refund",
    "amount_invalid",
    "amount_too_large",
    "refund_channel_unknown",
]

NOT_MONEY = ("waiver", "promotion")
"""Methods by which an amount counts as paid although no money moves."""

_RANK: dict[RefundStatus, int] = {"pending": 0, "succeeded": 1, "canceled": 2, "failed": 3}


# --- what is stored ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PaymentValues:
    """The columns of a payment, except its id and timestamps. Amounts are minor units of `currency`."""

    purchase_id: UUID
    student_id: UUID
    item_slug: str
    item_name: str
    item_kind: ItemKind
    owner_id: UUID | None
    payer: Payer
    amount: int
    tax: int
    refunded: int
    currency: str
    status: PaymentStatus
    method: str | None
    refs: list[str]
    installment: str | None
    stripe_payment_intent_id: str | None
    stripe_charge_id: str | None
    stripe_invoice_id: str | None
    manual_id: str | None
    disputed: bool
    failure_code: str | None
    paid_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class PaymentRecord(PaymentValues):
    id: UUID
    created_at: datetime
    updated_at: datetime

    @property
    def money(self) -> Money:
        return Money(amount=self.amount, currency=self.currency)

    @property
    def refund_channel(self) -> RefundChannel | None:
        if self.stripe_payment_intent_id or self.stripe_charge_id or self.stripe_invoice_id:
            return "stripe"
        return "manual" if self.manual_id else None


@dataclass(frozen=True, kw_only=True)
class RefundRecord:
    """`reported`: payment events mention it, so the payment's `refunded` includes it; until then it is reserved."""

    id: UUID
    payment_id: UUID
    purchase_id: UUID
    student_id: UUID
    amount: int
    currency: str
    reason: str
    origin: RefundOrigin
    requested_by: str
    status: RefundStatus
    stripe_refund_id: str | None
    failure: str | None
    reported: bool
    created_at: datetime
    updated_at: datetime

    @property
    def money(self) -> Money:
        return Money(amount=self.amount, currency=self.currency)

    @property
    def reserved(self) -> int:
        """Minor units promised to the payer that no payment event mentions yet."""
        return self.amount if not self.reported and self.status in ("pending", "succeeded") else 0


@dataclass(frozen=True, kw_only=True)
class RefundRequestRecord:
    id: UUID
    payment_id: UUID
    purchase_id: UUID
    student_id: UUID
    reason: str
    status: RefundRequestStatus
    decided_amount: int | None
    decided_by: str | None
    decided_at: datetime | None
    note: str | None
    refund_id: UUID | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class DisputeValues:
    """What payment events say of a dispute. `history`: every event of it as JSON, in its order."""

    amount: int
    currency: str
    reason: str
    status: DisputeStatus
    funds: Literal["withdrawn", "reinstated"] | None
    evidence_due_by: datetime | None
    closed_at: datetime | None
    created_at: datetime
    history: list[dict[str, Any]]


# --- refunding --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RefundablePayment:
    """What deciding on a refund needs to know of a payment. Amounts are minor units.

    `refunded` comes from payment events, `reserved` is our own refunds that no event mentions yet.
    """

    status: PaymentStatus
    amount: int
    refunded: int
    reserved: int
    method: str | None
    disputed: bool
    dispute_lost: bool
    paid_at: datetime
    channel: RefundChannel | None

    @property
    def left(self) -> int:
        return max(self.amount - self.refunded - self.reserved, 0)


@dataclass(frozen=True)
class Approve:
    """Refund `amount` minor units through `channel`."""

    amount: int
    channel: RefundChannel


@dataclass(frozen=True)
class Refuse:
    code: Refusal


def decide_refund(
    *, payment: RefundablePayment, requested: int | None, now: datetime, window: timedelta | None
) -> Approve | Refuse:
    """Whether `requested` minor units (None: everything left) can be refunded. `window` None: no time limit."""
    if payment.status != "succeeded":
        return Refuse("payment_not_succeeded")
    if not payment.amount or payment.method in NOT_MONEY:
        return Refuse("nothing_was_paid")
    if payment.disputed or payment.dispute_lost:  # the bank has the money, or could take it a second time
        return Refuse("payment_disputed")
    if window is not None and now > payment.paid_at + window:
        return Refuse("refund_window_over")
    if not payment.left:
        return Refuse("nothing_to_refund")
    if payment.channel is None:
        return Refuse("refund_channel_unknown")
    amount = payment.left if requested is None else requested
    if amount < 1:
        return Refuse("amount_invalid")
    if amount > payment.left:
        return Refuse("amount_too_large")
    return Approve(amount, payment.channel)


def final_status(*statuses: RefundStatus) -> RefundStatus:
    """The status that wins, whatever order they arrive in: a refund that failed never succeeds afterward."""
    return max(statuses, key=_RANK.__getitem__)
