"""Said by checkout: what somebody set out to buy, and what became of refunds and contacts."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field, StrictInt

from contracts.envelope import Event
from contracts.money import Money
from contracts.people import Contact, Payer, Program


class PurchaseCreated(Event):
    """A purchase was started; nothing is paid yet."""

    type = "purchase.created.v1"
    purchase_id: UUID
    student_id: UUID
    program: Program
    amount: Money
    payer: Payer
    funding_source: str | None = None
    payment_type: Literal["full", "plan"]
    instalments: StrictInt | None = None
    checkout_url: str
    expires_at: datetime | None = None
    payer_contact: Contact | None = Field(default=None, description="the sponsor's finance contact when they pay")


class StudentUpdated(Event):
    """How a student is reached, as they last told us."""

    type = "student.updated.v1"
    student_id: UUID
    contact: Contact


class RefundRequested(Event):
    """A student asks for money back; an admin decides."""

    type = "refund.requested.v1"
    refund_request_id: UUID
    purchase_id: UUID
    student_id: UUID
    amount: Money | None = None
    reason: str = Field(max_length=2000)


class RefundDecided(Event):
    """An admin has approved, amended or rejected a request."""

    type = "refund.decided.v1"
    refund_request_id: UUID
    purchase_id: UUID
    student_id: UUID
    decision: Literal["approved", "rejected"]
    amount: Money | None = None
