"""What has become of a checkout session, for the page to which Stripe returns the payer. Guests have no token: the
session's id, which cannot be guessed, is what lets them read it."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path
from pydantic import BaseModel
from sqlalchemy import select

from checkout.catalog.item import PlanType
from checkout.installments.views import PurchaseStatus, select_purchases
from checkout.problems import UNKNOWN_SESSION
from checkout.purchases.repository import set_checkout_session
from checkout.purchases.tables import purchases
from contracts.people import ItemKind
from kit.db.database import Database
from kit.http.dependencies import CurrentDatabase

router = APIRouter(tags=["checkout"])

_NOBODY = UUID(int=0)
SessionId = Annotated[str, Path(pattern=r"^cs_[A-Za-z0-9_]{10,200}$")]


class CheckoutSessionView(BaseModel):
    """`status`: as of a purchase. It follows verified events, not the payer's return from Stripe. Without personal
    data."""

    purchase_id: UUID
    product: str
    name: str
    kind: ItemKind
    status: PurchaseStatus
    plan: PlanType
    amount: int
    paid: int
    due: int
    currency: str


@router.get("/api/checkout-sessions/{session_id}")
async def read_checkout_session(session_id: SessionId, database: CurrentDatabase) -> CheckoutSessionView:
    """The purchase that is paid on this page of Stripe's."""
    student_id = await _student_of(database, session_id)
    async with database.transaction_of(student_id=student_id, role="student") as db:
        wanted, _, _ = select_purchases()
        of_session = wanted.where(purchases.c.stripe_checkout_session_id == session_id)
        row = (await db.execute(of_session)).one_or_none()
    if row is None:  # the purchase has another session by now
        raise UNKNOWN_SESSION()
    return CheckoutSessionView.model_validate({**row._mapping, "purchase_id": row.id})


async def _student_of(database: Database, session_id: str) -> UUID:
    """Raises Problem 404."""
    async with database.transaction_of(student_id=_NOBODY, role="student") as db:
        await set_checkout_session(db, session_id)
        found = select(purchases.c.student_id).where(purchases.c.stripe_checkout_session_id == session_id)
        student_id: UUID | None = await db.scalar(found)
    if student_id is None:
        raise UNKNOWN_SESSION()
    return student_id
