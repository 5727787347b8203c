"""What happened to money. Said by webhook-gateway, and by checkout for money that does not come through Stripe."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field, StrictInt

from contracts.envelope import Event, Model
from contracts.money import Money
from contracts.people import Contact, Payer, Program

RefundStatus = Literal["pending", "requires_action", "succeeded", "failed", "canceled"]
DisputeStatus = Literal[
    "warning_needs_response",
    "warning_under_review",
    "warning_closed",
    "needs_response",
    "under_review",
    "won",
    "lost",
    "prevented",
]
SubscriptionStatus = Literal[
    "incomplete", "incomplete_expired", "trialing", "active", "past_due", "canceled", "unpaid", "paused"
]


class PaymentRefs(Model):
    """Every id by which this payment is known. Two events that share one speak of the same money."""

    payment_intent: str | None = None
    charge: str | None = None
    invoice: str | None = None
    checkout_session: str | None = None
    manual: str | None = Field(default=None, description="our own id for cash, check, transfer, waiver")
    subscription: str | None = Field(default=None, description="the plan that the payment belongs to; not the payment")
    installment: str | None = Field(
        default=None, description="our own id of the amount due that this pays, or fails to pay; not the payment"
    )

    def of_payment(self) -> frozenset[str]:
        """The references that name the payment itself (a subscription has many payments)."""
        found = (self.payment_intent, self.charge, self.invoice, self.checkout_session, self.manual)
        return frozenset(reference for reference in found if reference)


class PaymentEvent(Event):
    """What each payment event tells beside its own fact. None: this event does not say (another one may)."""

    refs: PaymentRefs
    purchase_id: UUID | None = None
    student_id: UUID | None = None
    program: Program | None = None
    payer: Payer | None = None
    funding_source: str | None = Field(default=None, max_length=50, description="WIOA, WRG, …; None for self-pay")
    installments: StrictInt | None = Field(default=None, ge=1, description="how many payments the plan has in all")
    contact: Contact | None = Field(default=None, description="who paid")
    price: Money | None = Field(default=None, description="what the whole purchase costs, all installments together")


class PaymentSucceeded(PaymentEvent):
    """Money is settled (or none was due)."""

    type = "payment.succeeded.v1"
    amount: Money
    method: str | None = Field(default=None, description="card, us_bank_account, …; cash, check, waiver when manual")
    tax: Money | None = Field(default=None, description="how much of the amount is tax")


class PaymentPending(PaymentEvent):
    """The payer has acted and the money is on its way (bank debit): no enrollment yet."""

    type = "payment.pending.v1"
    amount: Money | None = None
    method: str | None = None


class PaymentFailed(PaymentEvent):
    """An attempt failed. `final`: nobody will try this payment again by itself."""

    type = "payment.failed.v1"
    amount: Money | None = None
    code: str = Field(default="unknown", max_length=100, description="Stripe's decline or error code")
    attempt: StrictInt = Field(default=1, ge=0)
    final: bool = False
    next_attempt_at: datetime | None = None
    pay_url: str | None = Field(
        default=None,
        max_length=2000,
        pattern="^https?://",
        description="the invoice's own page, on which whoever owes it can pay it; a web address, or None",
    )


class PaymentExpired(PaymentEvent):
    """It will not be paid any more: the session ran out, or the invoice was voided. Nothing is owed for it."""

    type = "payment.expired.v1"


class PaymentRefunded(PaymentEvent):
    """Money went back, or did not after all.

    A charge tells the cumulative `total` (and what it was `before`) of the amount `of` the payment; a refund tells its
    own `refund_id`, `amount` and `status`. An event carries the one or the other.
    """

    type = "payment.refunded.v1"
    total: Money | None = None
    before: Money | None = None
    of: Money | None = None
    refund_id: str | None = None
    amount: Money | None = None
    status: RefundStatus = "succeeded"


class PaymentDisputeOpened(PaymentEvent):
    """The payer's bank asks, or takes the money back for now."""

    type = "payment.dispute_opened.v1"
    dispute_id: str
    status: DisputeStatus
    amount: Money
    reason: str = Field(default="general", max_length=100)
    evidence_due_by: datetime | None = None
    funds: Literal["withdrawn", "reinstated"] | None = Field(
        default=None, description="the disputed money has left the school's account, or has come back to it"
    )


class PaymentDisputeClosed(PaymentEvent):
    """The bank's last word: won, lost, or the warning came to nothing."""

    type = "payment.dispute_closed.v1"
    dispute_id: str
    status: DisputeStatus
    amount: Money
    reason: str = Field(default="general", max_length=100)
    funds: Literal["withdrawn", "reinstated"] | None = Field(
        default=None, description="the disputed money has left the school's account, or has come back to it"
    )


class SubscriptionChanged(PaymentEvent):
    """A plan or membership as it stands at Stripe. `refs.subscription` names it."""

    type = "subscription.changed.v1"
    status: SubscriptionStatus
    cancel_at_period_end: bool = False
    current_period_end: datetime | None = None
    ended_at: datetime | None = None
    tier: str | None = Field(default=None, max_length=50, description="what a membership gives access to")
    collection_paused: bool = Field(default=False, description="on purpose: nothing is charged while it lasts")
    as_of: datetime | None = Field(default=None, description="when this was so; the latest is the last word")


class PurchaseCanceled(PaymentEvent):
    """The school has ended a purchase: nothing more is charged, and its enrollment is given back, whatever was paid."""

    type = "purchase.canceled.v1"
    reason: str = Field(max_length=500)
