"""Payments and refunds as stored, and the rules for refunding. Pure: plain data and the time in, decisions out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from contracts.money import Money
from contracts.payments import DisputeStatus
from contracts.people import ItemKind, Payer

PaymentStatus = Literal["requires_payment", "processing", "succeeded", "failed", "canceled"]
RefundStatus = Literal["pending", "succeeded", "canceled", "failed"]
RefundRequestStatus = Literal["pending", "approved", "rejected"]
RefundOrigin = Literal["admin", "student", "request", "cancellation", "late", "stripe"]
"""`late`: money that arrived after its purchase had ended. `stripe`: refunded in Stripe's dashboard."""
RefundChannel = Literal["stripe", "manual"]
"""Through Stripe, or by hand for money that never went through Stripe."""
RefundStanding = Literal["refunded", "partially_refunded"]
Refusal = Literal[
    "payment_not_succeeded",
    "nothing_was_paid",
    "payment_disputed",
    "nothing_to_refund",
    "amount_invalid",
    "amount_too_large",
    "refund_channel_unknown",
]
SelfRefusal = Literal[
    Refusal,
    "purchase_ended",
    "payment_processing",
    "paid_by_hand",
    "course_completed",
    "course_in_progress",
    "refund_window_over",
    "refund_credited",
    "partial_refund_needs_admin",
]
"""Why a student cannot refund a purchase without an admin."""

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
    method_details: dict[str, Any] | None
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
    """`late`: it arrived after its purchase had ended."""

    id: UUID
    late: bool
    created_at: datetime
    updated_at: datetime

    def has(self, values: PaymentValues) -> bool:
        return all(getattr(self, each.name) == getattr(values, each.name) for each in fields(values))

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

    `refunded` comes from payment events, `reserved` is our own refunds that no event mentions yet. `inquiry`: the
    payer's bank asks, and no money was withdrawn; `disputed`: the bank has the money, or had it and kept it.
    """

    id: UUID
    status: PaymentStatus
    amount: int
    refunded: int
    reserved: int
    method: str | None
    inquiry: bool
    disputed: bool
    paid_at: datetime
    channel: RefundChannel | None

    @property
    def left(self) -> int:
        return max(self.amount - self.refunded - self.reserved, 0)

    @property
    def is_money(self) -> bool:
        return self.status == "succeeded" and bool(self.amount) and self.method not in NOT_MONEY


@dataclass(frozen=True)
class Approve:
    """Refund `amount` minor units through `channel`."""

    amount: int
    channel: RefundChannel


@dataclass(frozen=True)
class Refuse:
    code: Refusal


def decide_refund(*, payment: RefundablePayment, requested: int | None) -> Approve | Refuse:
    """Whether the school can refund `requested` minor units (None: everything left).

    An inquiry does not prevent it: a full refund resolves the inquiry. (Stripe SDK 16.1, Dispute.is_charge_refundable:
    "After the payment has been fully refunded, no further funds are withdrawn".)
    """
    if payment.status != "succeeded":
        return Refuse("payment_not_succeeded")
    if not payment.is_money:
        return Refuse("nothing_was_paid")
    if payment.disputed:  # the bank has the money, or could take it a second time
        return Refuse("payment_disputed")
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


@dataclass(frozen=True, kw_only=True)
class SelfRefundPolicy:
    """`window`: how long after the first payment. `max_progress`: percent of the curriculum."""

    window: timedelta
    max_progress: int


@dataclass(frozen=True, kw_only=True)
class RefundablePurchase:
    """`ended`: by the student or the school. `progress`: percent of the curriculum, the highest of all enrollments.
    `credit`: minor units that its subscription has added to the credit balance at Stripe."""

    payments: tuple[RefundablePayment, ...]
    ended: bool
    completed: bool
    progress: int
    credit: int

    @property
    def left(self) -> int:
        return sum(payment.left for payment in self.payments if payment.is_money)


@dataclass(frozen=True)
class RefundShare:
    payment_id: UUID
    amount: int


@dataclass(frozen=True)
class ApproveAll:
    """Refund these shares, and end the purchase."""

    shares: tuple[RefundShare, ...]


@dataclass(frozen=True)
class RefuseSelfRefund:
    code: SelfRefusal


def decide_self_refund(
    *, purchase: RefundablePurchase, requested: int | None, now: datetime, policy: SelfRefundPolicy
) -> ApproveAll | RefuseSelfRefund:
    """Whether a student can refund a purchase alone: all of it, or nothing.

    `requested`: minor units; None: everything left. Credit is deducted: it buys the next invoices.
    """
    paid = [payment for payment in purchase.payments if payment.is_money]
    if any(payment.status == "processing" for payment in purchase.payments):
        return RefuseSelfRefund("payment_processing")
    if not paid:
        succeeded = any(payment.status == "succeeded" for payment in purchase.payments)
        return RefuseSelfRefund("nothing_was_paid" if succeeded else "payment_not_succeeded")
    if not purchase.left:
        return RefuseSelfRefund("nothing_to_refund")
    if (code := _obstacle(purchase, paid, now=now, policy=policy)) is not None:
        return RefuseSelfRefund(code)
    payable = purchase.left - purchase.credit
    if requested is not None and requested > purchase.left:
        return RefuseSelfRefund("amount_too_large")
    if requested not in (None, purchase.left, payable):
        return RefuseSelfRefund("partial_refund_needs_admin")
    if payable < 1:
        return RefuseSelfRefund("refund_credited")
    newest_first = sorted(paid, key=lambda payment: (payment.paid_at, payment.id), reverse=True)
    return ApproveAll(tuple(allocate([(payment.id, payment.left) for payment in newest_first], payable)))


def _obstacle(
    purchase: RefundablePurchase, paid: Sequence[RefundablePayment], *, now: datetime, policy: SelfRefundPolicy
) -> SelfRefusal | None:
    with_money_left = [payment for payment in paid if payment.left]
    if purchase.ended:
        return "purchase_ended"
    if any(payment.disputed or payment.inquiry for payment in paid):
        return "payment_disputed"
    if any(payment.channel == "manual" for payment in with_money_left):
        return "paid_by_hand"
    if any(payment.channel is None for payment in with_money_left):
        return "refund_channel_unknown"
    if purchase.completed:
        return "course_completed"
    if purchase.progress > policy.max_progress:
        return "course_in_progress"
    if now > min(payment.paid_at for payment in paid) + policy.window:
        return "refund_window_over"
    return None


def allocate(refundable: Sequence[tuple[UUID, int]], amount: int) -> list[RefundShare]:
    """Takes the amount from the payments in this order, at most what is left of each."""
    shares = []
    for payment_id, most in refundable:
        if (share := min(amount, most)) > 0:
            shares.append(RefundShare(payment_id, share))
            amount -= share
    return shares


def refund_standing(*, amount: int, refunded: int) -> RefundStanding | None:
    """None: nothing is refunded or being refunded."""
    if not refunded:
        return None
    return "refunded" if refunded >= amount else "partially_refunded"


def final_status(*statuses: RefundStatus) -> RefundStatus:
    """The status that counts, in any order of arrival: a refund that failed never succeeds afterward."""
    return max(statuses, key=_RANK.__getitem__)
