"""What every Stripe object of a purchase carries, so that the gateway knows whose it is. Pure; no personal data.

Stripe takes 50 keys of 500 characters.
"""

from __future__ import annotations

import json
from uuid import UUID

from checkout.purchases.domain import PurchaseRequest
from contracts.people import ItemRef

_MOST = 500


def metadata(purchase_id: UUID, request: PurchaseRequest, *, installment: str | None = None) -> dict[str, str]:
    """`installment`: which amount due the object is for."""
    program = request.program
    known = {
        "purchase_id": str(purchase_id),
        "student_id": str(request.student_id),
        "program_id": program.id,
        "program_slug": program.slug,
        "program_name": program.title,
        "program_kind": program.kind,
        "provider": program.provider,
        "payer": request.payer,
        "funding_source": request.funding_source,
        "installments": str(request.installments) if request.installments else None,
        "installment": installment,
        "tier": request.tier,
        **{f"includes_{n}": _part(part) for n, part in enumerate(program.includes, 1)},
    }
    if request.payment_flow != "membership":
        known |= {"price": str(request.amount.amount), "price_currency": request.amount.currency}
    return {name: value for name, value in known.items() if value}


def _part(part: ItemRef) -> str:
    """What is too long loses its name first, which is for people only."""
    told = json.dumps(part.model_dump(exclude_none=True), separators=(",", ":"), ensure_ascii=False)
    if len(told) > _MOST:
        told = json.dumps(
            part.model_dump(exclude_none=True, exclude={"name"}), separators=(",", ":"), ensure_ascii=False
        )
    return told
