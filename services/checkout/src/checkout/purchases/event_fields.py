"""What every payment event that checkout publishes says of its purchase."""

from __future__ import annotations

from typing import TypedDict
from uuid import UUID

from checkout.purchases.row import PurchaseRow
from contracts.money import Money
from contracts.people import Payer, Program


class PurchaseFields(TypedDict):
    purchase_id: UUID
    student_id: UUID
    program: Program
    payer: Payer
    funding_source: str | None
    installments: int | None
    price: Money | None
    due: Money | None


def purchase_fields(purchase: PurchaseRow, *, payer: Payer | None = None) -> PurchaseFields:
    """`payer`: the purchase's unless it is given."""
    return {
        "purchase_id": purchase.id,
        "student_id": purchase.student_id,
        "program": purchase.program,
        "payer": payer or purchase.payer,
        "funding_source": purchase.funding_source,
        "installments": purchase.installments,
        # a membership has no price that is paid once and for all
        "price": None
        if purchase.payment_flow == "membership"
        else Money(amount=purchase.amount, currency=purchase.currency),
        "due": purchase.request.due,
    }
