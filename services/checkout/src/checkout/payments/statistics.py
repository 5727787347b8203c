"""A specialist's revenue, summed in the database, never across currencies."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy import BigInteger, Text, and_, cast, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.payments.domain import NOT_MONEY
from checkout.payments.tables import disputes, payments


class Revenue(BaseModel):
    """Minor units. `net` is gross less refunds; disputes are not deducted."""

    count: int
    gross: int
    refunded: int
    net: int


class ItemRevenue(Revenue):
    item_slug: str
    item_name: str


class MonthRevenue(Revenue):
    month: str = Field(
        description="YYYY-MM in UTC, when the payment was made; refunds count in the month of their payment"
    )


class Disputed(BaseModel):
    """Minor units. `withdrawn`: what banks hold or have taken; `lost`: the part of it that is gone for good."""

    open: int = Field(description="number of open disputes")
    withdrawn: int
    lost: int


class Statistics(Revenue):
    currency: str
    disputes: Disputed
    by_item: list[ItemRevenue]
    by_month: list[MonthRevenue]


async def revenue_of(
    db: AsyncConnection, specialist_id: UUID, *, since: datetime | None = None, until: datetime | None = None
) -> list[Statistics]:
    """One entry per currency, of payments made from `since` on and before `until` that the caller may see."""
    mine = [
        payments.c.owner_id == specialist_id,
        payments.c.status == "succeeded",
        payments.c.amount > 0,
        or_(payments.c.method.is_(None), payments.c.method.not_in(NOT_MONEY)),
    ]
    if since is not None:
        mine.append(payments.c.paid_at >= since)
    if until is not None:
        mine.append(payments.c.paid_at < until)
    month = func.to_char(func.timezone("UTC", payments.c.paid_at), cast("YYYY-MM", Text))
    totals = await _sums(db, mine)
    items = await _sums(db, mine, item_slug=payments.c.item_slug, item_name=func.max(payments.c.item_name))
    months = await _sums(db, mine, month=month)
    disputed = await _disputes(db, mine)
    return [
        Statistics(
            **total,
            disputes=disputed.get(total["currency"], Disputed(open=0, withdrawn=0, lost=0)),
            by_item=[ItemRevenue.model_validate(each) for each in items if each["currency"] == total["currency"]],
            by_month=[MonthRevenue.model_validate(each) for each in months if each["currency"] == total["currency"]],
        )
        for total in totals
    ]


async def _sums(db: AsyncConnection, mine: list[Any], **by: Any) -> list[dict[str, Any]]:
    """Sums grouped and ordered by currency and the first of `by`."""
    gross, refunded = _sum(payments.c.amount), _sum(payments.c.refunded)
    groups = [payments.c.currency, *list(by.values())[:1]]
    wanted = (
        select(
            payments.c.currency,
            *(column.label(name) for name, column in by.items()),
            func.count().label("count"),
            gross.label("gross"),
            refunded.label("refunded"),
            (gross - refunded).label("net"),
        )
        .where(and_(*mine))
        .group_by(*groups)
        .order_by(*groups)
    )
    return [dict(row) for row in (await db.execute(wanted)).mappings()]


async def _disputes(db: AsyncConnection, mine: list[Any]) -> dict[str, Disputed]:
    gone = or_(disputes.c.funds == "withdrawn", disputes.c.status == "lost")
    wanted = (
        select(
            disputes.c.currency,
            func.count().filter(disputes.c.closed_at.is_(None)).label("open"),
            _sum(disputes.c.amount, gone).label("withdrawn"),
            _sum(disputes.c.amount, disputes.c.status == "lost").label("lost"),
        )
        .join(payments, payments.c.id == disputes.c.payment_id)
        .where(and_(*mine))
        .group_by(disputes.c.currency)
    )
    return {row["currency"]: Disputed.model_validate(dict(row)) for row in (await db.execute(wanted)).mappings()}


def _sum(column: Any, which: Any = None) -> Any:
    """Whole minor units: PostgreSQL's sum of a bigint is a numeric."""
    total = func.sum(column) if which is None else func.sum(column).filter(which)
    return cast(func.coalesce(total, 0), BigInteger)
