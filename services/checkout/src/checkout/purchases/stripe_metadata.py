"""The metadata of every Stripe object of a purchase, by which the gateway identifies it. Pure; no personal data.

Stripe accepts 50 keys of 500 characters.
"""

from __future__ import annotations

import json
from uuid import UUID

from checkout.purchases.domain import PurchaseRequest
from contracts.people import ItemRef, Payer

_MOST = 500


def metadata(
    purchase_id: UUID, request: PurchaseRequest, *, installment: str | None = None, payer: Payer | None = None
) -> dict[str, str]:
    """`installment`: the one that the object is for. `payer`: the purchase's unless it is given."""
    program = request.program
    values = {
        "purchase_id": str(purchase_id),
        "student_id": str(request.student_id),
        "program_id": program.id,
        "program_slug": program.slug,
        "program_name": program.title,
        "program_kind": program.kind,
        "provider": program.provider,
        "program_untaught": "true" if program.untaught else None,
        "payer": payer or request.payer,
        "funding_source": request.funding_source,
        "installments": str(request.installments) if request.installments else None,
        "installment": installment,
        "due": str(request.due.amount) if request.due else None,
        "tier": request.tier,
        **{f"includes_{n}": _part(part) for n, part in enumerate(program.includes, 1)},
    }
    if request.payment_flow != "membership":
        values |= {"price": str(request.amount.amount), "price_currency": request.amount.currency}
    return {name: value for name, value in values.items() if value}


def _part(part: ItemRef) -> str:
    """A part that is too long is stored without its name, which is for display only."""
    text = json.dumps(part.model_dump(exclude_none=True), separators=(",", ":"), ensure_ascii=False)
    if len(text) > _MOST:
        text = json.dumps(
            part.model_dump(exclude_none=True, exclude={"name"}), separators=(",", ":"), ensure_ascii=False
        )
    return text
