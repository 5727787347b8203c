"""Aged receivables: what students and sponsors owe, by how long it is overdue."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy import case, func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.installments.dependencies import CurrentClock
from checkout.installments.tables import COUNTED, installments
from checkout.purchases.tables import purchases
from contracts.people import Payer
from kit.http.auth import Admin
from kit.http.csv_documents import CsvResponse, csv_response
from kit.http.dependencies import CallerUnitOfWork

router = APIRouter(prefix="/api/admin/receivables", tags=["installments"])

Age = Literal["not_due", "0_to_30", "31_to_60", "61_to_90", "over_90"]
_AGES: tuple[tuple[int, Age], ...] = ((0, "not_due"), (30, "0_to_30"), (60, "31_to_60"), (90, "61_to_90"))
"""Up to so many days overdue."""


class Receivable(BaseModel):
    """Unpaid installments and invoices of one payer, currency and age."""

    payer: Payer
    funding_source: str | None = Field(description="WIOA, WRG, …; null: the student pays")
    currency: str
    age: Age = Field(description="in days since the due date; `not_due`: it is still to come")
    count: int
    amount: int = Field(description="minor units")


class Receivables(BaseModel):
    items: list[Receivable]


@router.get("")
async def read_receivables(_: Admin, uow: CallerUnitOfWork, clock: CurrentClock) -> Receivables:
    """What is owed, by payer and age. A payment that is being processed is still owed."""
    return Receivables(items=await _aged(uow.db, await clock.now_in(uow.db)))


@router.get(".csv", response_class=CsvResponse)
async def export_receivables(_: Admin, uow: CallerUnitOfWork, clock: CurrentClock) -> CsvResponse:
    """The same as CSV."""
    lines = await _aged(uow.db, await clock.now_in(uow.db))
    rows = ([value for _, value in line] for line in lines)
    return csv_response(list(Receivable.model_fields), rows, filename="receivables.csv")


async def _aged(db: AsyncConnection, now: datetime) -> Sequence[Receivable]:
    overdue = literal(now) - installments.c.due_at
    age = case(*((overdue <= timedelta(days=days), name) for days, name in _AGES), else_="over_90").label("age")
    order = case(*((overdue <= timedelta(days=days), days) for days, _ in _AGES), else_=999)
    is_co_pay = installments.c.kind == "co_pay"
    payer = case((is_co_pay, "student"), else_=purchases.c.payer).label("payer")
    funding_source = case((~is_co_pay, purchases.c.funding_source)).label("funding_source")
    grouped = (payer, funding_source, installments.c.currency)
    statement = (
        select(*grouped, age, func.count().label("count"), func.sum(installments.c.amount).label("amount"))
        .join(purchases, purchases.c.id == installments.c.purchase_id)
        .where(COUNTED, installments.c.status.in_(("open", "processing", "overdue", "paused")))
        .group_by(*grouped, age, order)
        .order_by(*grouped, order)
    )
    return [Receivable(**row._mapping) for row in await db.execute(statement)]
