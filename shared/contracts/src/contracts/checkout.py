"""Published by checkout: catalog items, purchases, receipts, refund decisions and contacts.

`catalog.item_registered.v1` is published by other systems, which register what they sell.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field, StrictInt

from contracts.envelope import Event, Model
from contracts.money import Currency, Money
from contracts.payments import PaymentRefs
from contracts.people import Contact, ItemKind, Payer, Program


class PurchaseCreated(Event):
    """A purchase was created; nothing is paid yet."""

    type = "purchase.created.v1"
    purchase_id: UUID
    student_id: UUID
    program: Program
    amount: Money
    payer: Payer
    funding_source: str | None = None
    payment_type: Literal["full", "plan"]
    installments: StrictInt | None = None
    checkout_url: str
    expires_at: datetime | None = None
    payer_contact: Contact | None = Field(default=None, description="the sponsor's finance contact, if a sponsor pays")
    discount: Money | None = Field(default=None, description="deducted from the catalog's price; `amount` is the rest")
    promotion_code: str | None = Field(default=None, max_length=100)
    due_at: datetime | None = Field(default=None, description="of a sponsor's invoice: when it is due")
    authorization_number: str | None = Field(
        default=None, max_length=100, description="the sponsor's, for this student"
    )
    co_pay: Money | None = Field(
        default=None, description="what the student pays of the `amount` of a sponsor's purchase"
    )


class StudentUpdated(Event):
    """The student's contact data has changed."""

    type = "student.updated.v1"
    student_id: UUID
    contact: Contact


class StudentCaseManagerChanged(Event):
    """A student was assigned to a case manager, or to none. The highest `revision` is current."""

    type = "student.case_manager_changed.v1"
    student_id: UUID
    case_manager_id: UUID | None = None
    revision: StrictInt = Field(ge=1)


class RefundRequested(Event):
    """A student has requested a refund; an admin decides."""

    type = "refund.requested.v1"
    refund_request_id: UUID
    purchase_id: UUID
    student_id: UUID
    amount: Money | None = None
    reason: str = Field(max_length=2000)


class RefundDecided(Event):
    """An admin has approved or rejected a refund request; `amount` may differ from what was requested."""

    type = "refund.decided.v1"
    refund_request_id: UUID
    purchase_id: UUID
    student_id: UUID
    decision: Literal["approved", "rejected"]
    amount: Money | None = None


class RefundFailed(Event):
    """Stripe refused a refund, or it failed later: the money is still the school's."""

    type = "refund.failed.v1"
    refund_id: UUID
    payment_id: UUID
    purchase_id: UUID
    student_id: UUID
    amount: Money
    code: str = Field(max_length=100)
    payer: Payer | None = Field(default=None, description="who gets it")


class InstallmentAnnounced(Event):
    """An installment will be charged, or is due, soon. (`installment_id` with the round, as in payment events.)"""

    type = "installment.announced.v1"
    installment: str = Field(max_length=100)
    purchase_id: UUID
    student_id: UUID
    program: Program
    payer: Payer
    amount: Money
    due_at: datetime
    position: StrictInt = Field(ge=1)
    installments: StrictInt = Field(ge=1)
    automatic: bool = Field(description="whether a saved payment method will be charged")
    co_pay: bool = Field(default=False, description="whether it is the student's share of a sponsor's purchase")
    pay_url: str | None = Field(default=None, max_length=2000, pattern="^https?://")
    payer_contact: Contact | None = Field(default=None, description="the sponsor's finance contact, if a sponsor pays")


class CollectionStopped(Event):
    """Checkout charges nothing more for a purchase, because its amounts contradict one another; an admin decides."""

    type = "collection.stopped.v1"
    purchase_id: UUID
    student_id: UUID
    code: Literal["received_more_than_owed", "more_charges_than_installments", "opened_without_payment"]
    received: Money
    owed: Money


class PaymentUnmatched(Event):
    """Money was received that names no student or no item of the catalog, or that came after an end."""

    type = "payment.unmatched.v1"
    refs: PaymentRefs
    amount: Money
    code: Literal["no_student", "no_item", "unknown_item", "conflicting_students", "after_end"]


class StripeEventsRequested(Event):
    """Checkout found at Stripe that an object was paid, and has not received its event. webhook-gateway fetches it."""

    type = "stripe_events.requested.v1"
    object: str = Field(max_length=255, description="cs_…, pi_…, in_… or sub_…")


class CatalogItemRegistered(Event):
    """Another system sells a new item, or has changed one. The same item again is an update."""

    type = "catalog.item_registered.v1"
    product_type: ItemKind
    product_id: str = Field(min_length=1, max_length=200, description="the other system's id, unique within its type")
    product_name: str = Field(min_length=1, max_length=300)
    price: StrictInt = Field(ge=0, description="minor units")
    currency: Currency
    auto_assign_payment_plan: bool = True
    category: str | None = Field(default=None, max_length=100)
    owner_id: UUID | None = Field(default=None, description="the specialist who receives the revenue")
    active: bool = True


class Project(Model):
    """One project of a track; the next one is unlocked when all steps of this one are done."""

    title: str = Field(min_length=1, max_length=300)
    steps: tuple[str, ...]


class CatalogItemChanged(Event):
    """A catalog item, as it is now. The highest `revision` is current."""

    type = "catalog.item_changed.v1"
    item: Program
    price: Money
    active: bool
    revision: StrictInt = Field(ge=1)
    projects: tuple[Project, ...] = Field(default=(), description="the projects of a track, in order")
    category: str | None = Field(default=None, max_length=100)
    owner_id: UUID | None = Field(default=None, description="the specialist who receives the revenue")


class ReceiptIssued(Event):
    """A receipt (or a sponsor's invoice) was issued."""

    type = "receipt.issued.v1"
    document_id: UUID
    kind: Literal["receipt", "invoice"]
    number: str = Field(max_length=50)
    purchase_id: UUID
    student_id: UUID
    refs: PaymentRefs
    amount: Money
    filename: str = Field(max_length=100)
    pdf: str = Field(max_length=400_000, description="the document, base64")
