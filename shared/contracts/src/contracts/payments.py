"""Payment events. Published by webhook-gateway, and by checkout for money that does not come through Stripe."""

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
    "appeal_needs_response",
    "appeal_under_review",
]
SubscriptionStatus = Literal[
    "incomplete", "incomplete_expired", "trialing", "active", "past_due", "canceled", "unpaid", "paused"
]


EndedBy = Literal["student", "school", "dispute"]


class PaymentMethodDetails(Model):
    """How it was paid, from the charge (Stripe: `payment_method_details`). Nothing in it can be charged."""

    type: str = Field(max_length=50, description="card, us_bank_account, klarna, …")
    brand: str | None = Field(default=None, max_length=50, description="of a card: visa, …")
    last4: str | None = Field(default=None, max_length=4)
    bank: str | None = Field(default=None, max_length=100, description="of a bank account: its bank's name")
    wallet: str | None = Field(default=None, max_length=50, description="apple_pay, google_pay, link, …")


class PaymentRefs(Model):
    """The ids of a payment. Two events that share one are about the same money."""

    payment_intent: str | None = None
    charge: str | None = None
    invoice: str | None = None
    checkout_session: str | None = None
    manual: str | None = Field(default=None, description="our own id for cash, check, transfer, waiver")
    subscription: str | None = Field(
        default=None, description="the plan or membership that the payment belongs to; does not name the payment"
    )
    installment: str | None = Field(
        default=None, description="our id of the installment that this pays or fails to pay; does not name the payment"
    )
    customer: str | None = Field(default=None, description="Stripe's customer who paid; does not name the payment")

    def of_payment(self) -> frozenset[str]:
        """The references that name the payment itself (a subscription has many payments)."""
        found = (self.payment_intent, self.charge, self.invoice, self.checkout_session, self.manual)
        return frozenset(reference for reference in found if reference)


class PaymentEvent(Event):
    """What every payment event may contain. None: this event does not say; another one may."""

    refs: PaymentRefs
    purchase_id: UUID | None = None
    student_id: UUID | None = None
    program: Program | None = None
    payer: Payer | None = None
    funding_source: str | None = Field(default=None, max_length=50, description="WIOA, WRG, …; None for self-pay")
    installments: StrictInt | None = Field(default=None, ge=1, description="how many payments the plan has in all")
    contact: Contact | None = Field(default=None, description="who paid")
    price: Money | None = Field(
        default=None, description="what the whole purchase costs, all installments together, without tax"
    )
    due: Money | None = Field(
        default=None,
        description="of a plan: what has to be paid before the enrollment opens; None: the regular installment",
    )
    as_of: datetime | None = Field(default=None, description="when it happened; None: unknown")


class PaymentSucceeded(PaymentEvent):
    """Money was received (or none was due)."""

    type = "payment.succeeded.v1"
    amount: Money
    method: str | None = Field(default=None, description="card, us_bank_account, …; cash, check, waiver when manual")
    details: PaymentMethodDetails | None = None
    tax: Money | None = Field(default=None, description="how much of the amount is tax")
    discount: Money | None = Field(default=None, description="deducted by Stripe's own page: no shortfall")
    credit: Money | None = Field(
        default=None, description="paid from the customer's credit balance at Stripe, beside the amount"
    )


class PaymentPending(PaymentEvent):
    """A bank debit was submitted and has not settled yet."""

    type = "payment.pending.v1"
    amount: Money | None = None
    method: str | None = None


class PaymentFailed(PaymentEvent):
    """An attempt to pay failed. `final`: there is no automatic retry."""

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
        description="the hosted invoice page, where it can be paid; an http(s) URL or None",
    )


class PaymentExpired(PaymentEvent):
    """It can no longer be paid: the session expired, or the invoice was voided. Nothing is owed for it."""

    type = "payment.expired.v1"


class PaymentRefunded(PaymentEvent):
    """A refund was made, or has changed its status.

    From a charge: the cumulative `total`, what it was `before`, and the amount `of` the payment. From a refund: its
    `refund_id`, `amount` and `status`. An event has one or the other.
    """

    type = "payment.refunded.v1"
    total: Money | None = None
    before: Money | None = None
    of: Money | None = None
    refund_id: str | None = None
    amount: Money | None = None
    status: RefundStatus = "succeeded"


class PaymentDisputeOpened(PaymentEvent):
    """The payer's bank has opened an inquiry or a dispute."""

    type = "payment.dispute_opened.v1"
    dispute_id: str
    status: DisputeStatus
    amount: Money
    reason: str = Field(default="general", max_length=100)
    evidence_due_by: datetime | None = None
    funds: Literal["withdrawn", "reinstated"] | None = Field(
        default=None,
        description="whether the disputed amount was withdrawn from the school's balance, or returned to it",
    )


class PaymentDisputeClosed(PaymentEvent):
    """The dispute was closed: won, lost, prevented, or an inquiry that did not become one."""

    type = "payment.dispute_closed.v1"
    dispute_id: str
    status: DisputeStatus
    amount: Money
    reason: str = Field(default="general", max_length=100)
    funds: Literal["withdrawn", "reinstated"] | None = Field(
        default=None,
        description="whether the disputed amount was withdrawn from the school's balance, or returned to it",
    )


class SubscriptionChanged(PaymentEvent):
    """The state of a plan or membership at Stripe. `refs.subscription` names it."""

    type = "subscription.changed.v1"
    status: SubscriptionStatus
    cancel_at_period_end: bool = False
    current_period_end: datetime | None = None
    ended_at: datetime | None = None
    tier: str | None = Field(default=None, max_length=50, description="what a membership gives access to")
    collection_paused: bool = Field(
        default=False, description="Stripe's pause_collection: nothing is charged while it lasts"
    )
    resumes_at: datetime | None = Field(
        default=None, description="when a pause of the collection ends by itself; None: when somebody resumes it"
    )


class SubscriptionScheduleEnded(PaymentEvent):
    """The schedule of a plan at Stripe ended early. `refs.subscription` names the plan's subscription.

    released: the subscription goes on without an end. canceled, aborted: it was canceled too.
    """

    type = "subscription.schedule_ended.v1"
    outcome: Literal["released", "canceled", "aborted"]


class PaymentActionRequired(PaymentEvent):
    """The payer has to act before it can be paid: authenticate (3-D Secure), or verify a bank account."""

    type = "payment.action_required.v1"
    amount: Money | None = None
    action: Literal["authenticate", "verify_bank_account", "other"] = "other"
    url: str | None = Field(default=None, max_length=2000, pattern="^https?://", description="Stripe's page for it")


class PaymentFraudWarned(PaymentEvent):
    """The card's issuer suspects fraud (Stripe: early fraud warning). A dispute may follow unless it is refunded."""

    type = "payment.fraud_warned.v1"
    fraud_type: str = Field(max_length=100)
    actionable: bool = True


class PurchaseRecorded(PaymentEvent):
    """A payment that was not started here is now a purchase: its student, its item, and what it costs that payer.

    Published by checkout, automatically or by an admin's decision. Until then, the payment opens nothing.
    """

    type = "purchase.recorded.v1"


class PurchaseAccepted(PaymentEvent):
    """An admin has accepted less than the price: `amount` is not owed."""

    type = "purchase.accepted.v1"
    amount: Money


class PurchaseEnded(PaymentEvent):
    """A purchase was ended: nothing more is charged, and its enrollment ends, even if more was or will be paid."""

    type = "purchase.ended.v1"
    by: EndedBy
    reason: str = Field(max_length=500)


class CustomerDeleted(Event):
    """A customer was deleted at Stripe, with all saved payment methods."""

    type = "customer.deleted.v1"
    customer: str = Field(max_length=255)


class MandateRevoked(Event):
    """The payer has revoked the mandate for bank debits: the payment method cannot be charged any more."""

    type = "mandate.revoked.v1"
    mandate: str = Field(max_length=255)
    payment_method: str = Field(max_length=255)
