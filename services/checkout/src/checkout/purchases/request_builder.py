"""What a student asks for, at the catalog's price less what a promotion code takes off."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.catalog.promotion_repository import Quote, quote
from checkout.catalog.repository import Item
from checkout.purchases.domain import PLAN_INSTALLMENTS, How, PaymentType, Wish
from contracts.money import Money


async def wish_for(
    db: AsyncConnection,
    item: Item,
    student_id: UUID,
    *,
    at: datetime,
    how: How = "page",
    payment_type: PaymentType = "full",
    promotion_code: str | None = None,
    guest: bool = False,
    price: Money | None = None,
    installments: int | None = None,
) -> tuple[Wish, Quote]:
    """The wish and its price. Raises Problem 404 or 409 for a code that does not apply.

    `price` is the catalog's unless it is given; `installments` the house's for a plan on Stripe's page.
    """
    priced = await quote(db, item, price or item.money, promotion_code, student_id=student_id, at=at, guest=guest)
    if payment_type == "plan" and installments is None:
        installments = PLAN_INSTALLMENTS
    wish = Wish(
        student_id=student_id,
        program=item.as_program(),
        amount=priced.total,
        item_id=item.id,
        owner_id=item.owner_id,
        payment_type=payment_type,
        installments=installments,
        how=how,
        list_price=priced.list_price,
        promotion_code=priced.promotion.code if priced.promotion else None,
        tier=item.tier,
    )
    return wish, priced
