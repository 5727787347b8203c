"""Installments whose invoice or intent is open at Stripe, as far as checkout has received."""

from __future__ import annotations

from sqlalchemy import func, select

from checkout.installments.tables import installments
from checkout.purchases.lost_events import OpenObjects


def open_installments() -> OpenObjects:
    """A debit that is being processed is looked at too: its invoice is paid when it has settled."""
    object_id = func.coalesce(installments.c.stripe_invoice_id, installments.c.stripe_payment_intent_id)
    return select(
        object_id.label("object_id"),
        installments.c.updated_at.label("since"),
        (installments.c.status == "processing").label("processing"),
    ).where(
        installments.c.status.in_(("open", "processing", "overdue", "paused")),
        object_id.is_not(None),
    )
