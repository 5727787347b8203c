"""An admin accepts less than the price."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import structlog
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from checkout.problems import NOT_UNDERPAID, UNKNOWN_PURCHASE
from checkout.purchases import repository
from checkout.purchases.event_fields import purchase_fields
from contracts.audit import Act
from contracts.money import Money
from contracts.payments import PaymentRefs, PurchaseAccepted
from kit.http import audit
from kit.http.auth import Admin
from kit.http.dependencies import CallerUnitOfWork
from kit.http.openapi import example

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/api/admin/purchases", tags=["admin"])


class Acceptance(BaseModel, json_schema_extra=example(reason="The school waives the difference.")):
    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(min_length=1, max_length=500)]


class AcceptedPurchase(BaseModel):
    """`amount`: minor units that are not owed any more, in all."""

    purchase_id: UUID
    amount: int
    currency: str


@router.post("/{id}/accept")
async def accept_purchase(id: UUID, body: Acceptance, caller: Admin, uow: CallerUnitOfWork) -> AcceptedPurchase:
    """Accepts what was paid for an underpaid purchase: its enrollment opens, and the rest is not owed. Once for each
    shortfall: the same request again returns the same."""
    row = await repository.lock_purchase(uow.db, id)
    if row is None:
        raise UNKNOWN_PURCHASE()
    if row.shortfall is None:
        if row.accepted:
            return AcceptedPurchase(purchase_id=id, amount=row.accepted, currency=row.currency)
        raise NOT_UNDERPAID()
    # the ledger counts the largest acceptance, so each one includes those before it
    amount = Money(amount=row.accepted + row.shortfall, currency=row.currency)
    event = PurchaseAccepted(**purchase_fields(row), refs=PaymentRefs(), amount=amount, as_of=uow.now)
    await uow.publish(event, id=f"{id}/{amount.amount}/{event.type}", subject=str(id))
    await repository.write_acceptance(uow.db, id, by=f"{caller.role}:{caller.id}", reason=body.reason, at=uow.now)
    act = Act.of(
        "underpayment.accepted",
        "purchase",
        id,
        purchase_id=id,
        student_id=row.student_id,
        before={"accepted": row.accepted, "currency": row.currency},
        after={"accepted": amount.amount, "currency": row.currency},
        reason=body.reason,
    )
    await audit.record(uow, act)
    log.info("shortfall accepted", purchase=str(id), amount=amount.amount)
    return AcceptedPurchase(purchase_id=id, amount=amount.amount, currency=row.currency)
