"""Responses of payments, refunds and disputes. Amounts are minor units of the currency beside them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field, computed_field

from checkout.payments.domain import (
    PaymentStatus,
    RefundOrigin,
    RefundStanding,
    RefundStatus,
    SelfRefusal,
    refund_standing,
)
from checkout.stripe_client.intents import IntentStatus
from contracts.payments import DisputeStatus, PaymentMethodDetails
from contracts.people import ItemKind, Payer
from kit.http.paging import Page


class Payment(BaseModel):
    id: UUID
    purchase_id: UUID
    student_id: UUID
    item_slug: str
    item_name: str
    item_kind: ItemKind
    payer: Payer
    amount: int
    tax: int
    refunded: int = Field(description="refunded or being refunded")
    currency: str
    status: PaymentStatus
    method: str | None = Field(description="card, us_bank_account, cash, …; null until the charge's event has arrived")
    method_details: PaymentMethodDetails | None = Field(description="brand and last digits; null unless Stripe says")
    installment: str | None = Field(description="the installment that this pays, with its round")
    stripe_payment_intent_id: str | None
    disputed: bool
    late: bool = Field(description="the money arrived after the purchase had ended")
    failure_code: str | None
    paid_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @computed_field  # type: ignore[prop-decorator]  # pydantic's own documentation
    @property
    def refund_status(self) -> RefundStanding | None:
        """Null: nothing is refunded or being refunded."""
        return refund_standing(amount=self.amount, refunded=self.refunded)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def payment_intent_id(self) -> str | None:
        return self.stripe_payment_intent_id

    @computed_field  # type: ignore[prop-decorator]
    @property
    def track(self) -> str | None:
        """The track's slug; null for other items."""
        return self.item_slug if self.item_kind == "track" else None


class Refund(BaseModel):
    """Pending: Stripe has not completed it yet."""

    id: UUID
    payment_id: UUID
    amount: int
    currency: str
    status: RefundStatus
    reason: str
    origin: RefundOrigin
    failure: str | None = Field(description="why Stripe did not make it")
    created_at: datetime
    updated_at: datetime


class MadeRefund(Refund):
    """The refund of the payment; `refunds` has those of the purchase's other payments too."""

    purchase_ended: bool
    credit_deducted: int = Field(description="minor units that were credited for the next invoices instead")
    refunds: list[Refund]


class Refundable(BaseModel):
    """Whether the caller may refund now; `code` says why not. A student can refund only the whole purchase."""

    amount: int = Field(description="what is left to refund: of the payment; for its student, of the whole purchase")
    allowed: bool
    code: SelfRefusal | None


class PaymentDetail(Payment):
    refunds: list[Refund]
    refundable: Refundable


class AdminPayment(Payment):
    owner_id: UUID | None
    stripe_charge_id: str | None
    stripe_invoice_id: str | None
    manual_id: str | None


PaymentWord = Literal["PENDING", "PROCESSING", "SUCCEEDED", "FAILED", "CANCELED", "REFUNDED"]
_WORDS: Mapping[PaymentStatus, PaymentWord] = {
    "requires_payment": "PENDING",
    "processing": "PROCESSING",
    "succeeded": "SUCCEEDED",
    "failed": "FAILED",
    "canceled": "CANCELED",
}


def word_of(status: PaymentStatus, refunded: RefundStanding | None) -> PaymentWord:
    return "REFUNDED" if refunded == "refunded" else _WORDS[status]


class PaymentState(BaseModel):
    """`status` follows verified events; `stripe_status` is Stripe's, null if Stripe is unavailable."""

    payment_id: UUID
    payment_intent_id: str
    status: PaymentWord
    stripe_status: IntentStatus | None
    refund_status: RefundStanding | None
    amount: int
    currency: str
    track: str | None = Field(description="the track's slug; null for other items")
    paid_at: datetime | None
    created_at: datetime


class OwnPayment(BaseModel):
    """`payment_intent_id` null: it was not paid by an intent."""

    payment_intent_id: str | None
    status: PaymentWord
    amount: int
    currency: str
    track: str | None = Field(description="the track's slug; null for other items")
    refunded: bool = Field(description="in full")
    created_at: datetime


class OwnPayments(Page[Payment]):
    @computed_field(description="`items`, shorter")  # type: ignore[prop-decorator]
    @property
    def payments(self) -> list[OwnPayment]:
        return [
            OwnPayment(
                payment_intent_id=each.stripe_payment_intent_id,
                status=word_of(each.status, each.refund_status),
                amount=each.amount,
                currency=each.currency,
                track=each.track,
                refunded=each.refund_status == "refunded",
                created_at=each.created_at,
            )
            for each in self.items
        ]


class Dispute(BaseModel):
    id: UUID
    stripe_dispute_id: str
    payment_id: UUID
    purchase_id: UUID
    student_id: UUID
    amount: int
    currency: str
    reason: str
    status: DisputeStatus
    funds: Literal["withdrawn", "reinstated"] | None = Field(
        description="withdrawn from the school's account, or reinstated"
    )
    evidence_due_by: datetime | None
    closed_at: datetime | None
    created_at: datetime
    updated_at: datetime


class DisputeDetail(Dispute):
    history: list[dict[str, Any]] = Field(description="every event of the dispute, oldest first")
