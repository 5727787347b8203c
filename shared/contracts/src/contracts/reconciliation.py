"""Published by webhook-gateway: where Stripe's objects differ from what was published about them. No personal data."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import Field, StrictInt

from contracts.envelope import Event
from contracts.payments import PaymentRefs


class ReconciliationDifference(Event):
    """One field of one object at Stripe. `revision` increases with every change of the difference; the event with the
    highest one is current. Nothing was changed because of it: an operator decides which of the two is right."""

    object_kind: str = Field(
        max_length=50,
        description="checkout_session, payment_intent, charge, refund, dispute, invoice, subscription or "
        "balance_transaction; a later version may have others",
    )
    object_id: str = Field(max_length=255)
    field: str = Field(max_length=50, description="what differs: amount, status, refunded, …")
    stripe: str | None = Field(
        default=None,
        max_length=200,
        description="at Stripe: text, or minor units and currency as in `489000 usd`; None: nothing",
    )
    published: str | None = Field(
        default=None, max_length=200, description="what was published; None: nothing was published about it"
    )
    refs: PaymentRefs
    purchase_id: UUID | None = None
    revision: StrictInt = Field(ge=1)


class ReconciliationDifferenceFound(ReconciliationDifference):
    """Stripe's object differs from what was published about it."""

    type = "reconciliation.difference_found.v1"


class ReconciliationDifferenceResolved(ReconciliationDifference):
    """The two agree again; `stripe` and `published` are what they agree on."""

    type = "reconciliation.difference_resolved.v1"


class ReconciliationCompleted(Event):
    """Every object that Stripe created in the period was compared with what was published about it. Each difference
    that was found has been published before."""

    type = "reconciliation.completed.v1"
    since: datetime
    through: datetime = Field(description="before when the objects were created, by Stripe's clock")
    objects: StrictInt = Field(ge=0, description="how many were compared")
    restored: StrictInt = Field(ge=0, description="how many had no event, and got one")
    differences: StrictInt = Field(ge=0, description="how many are open in all, also of other periods")
