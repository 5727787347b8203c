"""Responses of payments, refunds and disputes. Amounts are minor units of the currency beside them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from checkout.payments.domain import PaymentStatus, RefundOrigin, RefundStatus, Refusal
from contracts.payments import DisputeStatus
from contracts.people import ItemKind, Payer


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
    method: str | None
    installment: str | None = Field(description="the installment that this pays, with its round")
    stripe_payment_intent_id: str | None
    disputed: bool
    failure_code: str | None
    paid_at: datetime | None
    created_at: datetime
    updated_at: datetime


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


class Refundable(BaseModel):
    """Whether the caller may refund the payment now; `code` says why not."""

    amount: int = Field(description="what is left to refund")
    allowed: bool
    code: Refusal | None


class PaymentDetail(Payment):
    refunds: list[Refund]
    refundable: Refundable


class AdminPayment(Payment):
    owner_id: UUID | None
    stripe_charge_id: str | None
    stripe_invoice_id: str | None
    manual_id: str | None


class PaymentState(BaseModel):
    """`status` is ours, from verified events; `stripe_status` is Stripe's, null if Stripe is unavailable."""

    payment_id: UUID
    payment_intent_id: str
    status: PaymentStatus
    stripe_status: str | None
    amount: int
    currency: str
    paid_at: datetime | None


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
    funds: str | None = Field(description="withdrawn from the school's account, or reinstated")
    evidence_due_by: datetime | None
    closed_at: datetime | None
    created_at: datetime
    updated_at: datetime


class DisputeDetail(Dispute):
    history: list[dict[str, Any]] = Field(description="every event of the dispute, oldest first")
