"""A student's purchase request, at the catalog's price less what a promotion code takes off."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.catalog.promotion_repository import Quote, quote
from checkout.catalog.repository import Item
from checkout.purchases.domain import PLAN, Interval, PaymentFlowName, PaymentType, PurchaseRequest
from contracts.money import Money


async def build_request(
    db: AsyncConnection,
    item: Item,
    student_id: UUID,
    *,
    at: datetime,
    payment_flow: PaymentFlowName = "page",
    payment_type: PaymentType = "full",
    promotion_code: str | None = None,
    guest: bool = False,
    price: Money | None = None,
    interval: Interval | None = None,
) -> tuple[PurchaseRequest, Quote]:
    """The request and its price. Raises Problem 404 or 409 for a code that does not apply.

    `price`: the catalog's unless it is given.
    """
    priced = await quote(db, item, price or item.money, promotion_code, student_id=student_id, at=at, guest=guest)
    request = PurchaseRequest(
        student_id=student_id,
        program=item.as_program(),
        amount=priced.total,
        item_id=item.id,
        owner_id=item.owner_id,
        payment_type=payment_type,
        installments=PLAN.installments if payment_type == "plan" else None,
        plan=PLAN if payment_type == "plan" else None,
        payment_flow=payment_flow,
        list_price=priced.list_price,
        promotion_code=priced.promotion.code if priced.promotion else None,
        tier=item.tier,
        interval=interval,
    )
    return request, priced
