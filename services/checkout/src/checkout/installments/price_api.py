"""What an item costs before it is bought: with a promotion code, and by installments."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import uuid4

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from checkout.catalog.problems import NO_ANNUAL_PRICE
from checkout.catalog.promotion_repository import quote
from checkout.catalog.repository import find_item
from checkout.exact_json import ExactJson
from checkout.installments.dependencies import CurrentClock
from checkout.installments.domain import FULL, InstallmentKind, plan_installments
from checkout.problems import NO_PLAN, UNKNOWN_ITEM
from checkout.purchases.domain import PLAN, PaymentType
from checkout.units import Price
from contracts.money import Currency
from kit.db.unit_of_work import utc_now
from kit.http.auth import MaybeCaller
from kit.http.dependencies import CurrentDatabase
from kit.http.limits import limited

router = APIRouter(tags=["catalog"], route_class=ExactJson)

_LIMIT_CODES = limited("guesses", lambda request: "promotion_code" in request.query_params)
"""Prices are public; codes must not be tried out."""


class InstallmentPreview(BaseModel):
    """`amount` is minor units. The first is due when it is bought."""

    position: int
    kind: InstallmentKind
    amount: int
    currency: Currency
    due_at: datetime


class PricePreview(BaseModel):
    """`price` is the catalog's, in major units; the others are minor units: `total` = `subtotal` - `discount`."""

    price: Price
    subtotal: int
    discount: int
    total: int
    currency: Currency
    installments: list[InstallmentPreview] = Field(description="they add up to the total; empty if nothing is due")


@router.get("/api/prices/{item}", dependencies=[_LIMIT_CODES])
async def preview_price(
    item: str,
    caller: MaybeCaller,
    database: CurrentDatabase,
    clock: CurrentClock,
    payment_type: Annotated[PaymentType, Query(description="plan: of programs, four monthly installments")] = "full",
    promotion_code: Annotated[str | None, Query(min_length=1, max_length=100)] = None,
    interval: Annotated[Literal["month", "year"], Query(description="of a membership")] = "month",
) -> PricePreview:
    """What the caller, or a guest, pays for it, and when. Nothing is reserved until it is bought."""
    student_id = caller.id if caller else uuid4()
    async with database.transaction_of(student_id=student_id, role=caller.role if caller else "student") as db:
        found = await find_item(db, item)
        if found is None:
            raise UNKNOWN_ITEM("There is no such item; GET /api/catalog lists them.")
        if payment_type == "plan" and found.kind != "program":
            raise NO_PLAN()
        price = found.annual if interval == "year" else found.money
        if price is None:
            raise NO_ANNUAL_PRICE()
        priced = await quote(
            db, found, price, promotion_code, student_id=student_id, at=utc_now(), guest=caller is None
        )
        try:
            planned = plan_installments(PLAN if payment_type == "plan" else FULL, priced.total, await clock.now_in(db))
        except ValueError:
            raise NO_PLAN("This price cannot be split into installments.") from None
    return PricePreview(
        price=price.to_decimal(),
        subtotal=priced.list_price.amount,
        discount=priced.discount.amount,
        total=priced.total.amount,
        currency=priced.total.currency,
        installments=[
            InstallmentPreview(
                position=each.position,
                kind=each.kind,
                amount=each.amount.amount,
                currency=each.amount.currency,
                due_at=each.due_at,
            )
            for each in planned
        ],
    )
