"""A specialist's revenue, summed in the database, never across currencies."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy import BigInteger, ColumnElement, Select, Text, cast, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.payments.domain import NOT_MONEY
from checkout.payments.tables import disputes, payments
from ledger.payment import LOST_DISPUTES


class Revenue(BaseModel):
    """Minor units. `net` is gross less refunds and lost disputes; an open dispute is not deducted."""

    count: int
    gross: int
    refunded: int
    lost: int
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


class SpecialistStatistics(Revenue):
    currency: str
    disputes: Disputed
    by_item: list[ItemRevenue]
    by_month: list[MonthRevenue]


async def revenue_of(
    db: AsyncConnection, specialist_id: UUID, *, since: datetime | None = None, until: datetime | None = None
) -> list[SpecialistStatistics]:
    """One entry per currency, of payments made from `since` on and before `until` that the caller may see."""
    own = [
        payments.c.owner_id == specialist_id,
        payments.c.status == "succeeded",
        payments.c.amount > 0,
        or_(payments.c.method.is_(None), payments.c.method.not_in(NOT_MONEY)),
    ]
    if since is not None:
        own.append(payments.c.paid_at >= since)
    if until is not None:
        own.append(payments.c.paid_at < until)
    month = func.to_char(func.timezone("UTC", payments.c.paid_at), cast("YYYY-MM", Text))
    item_name = func.max(payments.c.item_name)
    totals = await db.execute(_revenue(own))
    by_item = (await db.execute(_revenue(own, payments.c.item_slug, item_name.label("item_name")))).mappings().all()
    by_month = (await db.execute(_revenue(own, month.label("month")))).mappings().all()
    disputed = await _disputes(db, own)
    return [
        SpecialistStatistics(
            currency=total.currency,
            count=total.count,
            gross=total.gross,
            refunded=total.refunded,
            lost=total.lost,
            net=total.net,
            disputes=disputed.get(total.currency, Disputed(open=0, withdrawn=0, lost=0)),
            by_item=[ItemRevenue.model_validate(each) for each in by_item if each["currency"] == total.currency],
            by_month=[MonthRevenue.model_validate(each) for each in by_month if each["currency"] == total.currency],
        )
        for total in totals
    ]


def _revenue(
    own: Sequence[ColumnElement[bool]], group: ColumnElement[str] | None = None, *more: ColumnElement[str]
) -> Select[Any]:
    """Sums grouped and ordered by currency and, if given, by `group`; `more` are further columns of each group."""
    disputed = select(func.coalesce(func.sum(disputes.c.amount), 0)).where(
        disputes.c.payment_id == payments.c.id, disputes.c.status.in_(LOST_DISPUTES)
    )
    # what was refunded before the dispute cannot be lost again
    lost = _sum(func.least(disputed.scalar_subquery(), payments.c.amount - payments.c.refunded))
    gross, refunded = _sum(payments.c.amount), _sum(payments.c.refunded)
    columns = [payments.c.currency, *([] if group is None else [group])]
    return (
        select(
            *columns,
            *more,
            func.count().label("count"),
            gross.label("gross"),
            refunded.label("refunded"),
            lost.label("lost"),
            (gross - refunded - lost).label("net"),
        )
        .where(*own)
        .group_by(*columns)
        .order_by(*columns)
    )


async def _disputes(db: AsyncConnection, own: Sequence[ColumnElement[bool]]) -> dict[str, Disputed]:
    """By currency."""
    lost = disputes.c.status.in_(LOST_DISPUTES)
    wanted = (
        select(
            disputes.c.currency,
            func.count().filter(disputes.c.closed_at.is_(None)).label("open"),
            _sum(disputes.c.amount, or_(disputes.c.funds == "withdrawn", lost)).label("withdrawn"),
            _sum(disputes.c.amount, lost).label("lost"),
        )
        .join(payments, payments.c.id == disputes.c.payment_id)
        .where(*own)
        .group_by(disputes.c.currency)
    )
    return {row["currency"]: Disputed.model_validate(row) for row in (await db.execute(wanted)).mappings()}


def _sum(column: ColumnElement[int], only: ColumnElement[bool] | None = None) -> ColumnElement[int]:
    """Minor units as a bigint: PostgreSQL's sum of a bigint is a numeric."""
    total = func.sum(column) if only is None else func.sum(column).filter(only)
    return cast(func.coalesce(total, 0), BigInteger)
