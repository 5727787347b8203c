"""How Stripe's events came, day by day, for admins: JSON, and CSV for spreadsheets."""

from __future__ import annotations

from datetime import date, timedelta

from fastapi import APIRouter
from pydantic import BaseModel, Field

from kit.http.auth import Admin
from kit.http.csv_documents import CsvResponse, csv_of_models
from kit.http.figures import DefinedFigure, InPeriod, Period
from webhook_gateway.admin_context import AdminContext, CurrentContext
from webhook_gateway.deliveries import DEFINITIONS, DeliveryCounts, DeliveryFigureName, by_day

router = APIRouter(prefix="/api/admin", tags=["operations"])


class DeliveryFigure(DefinedFigure[DeliveryFigureName]):
    """A figure of the whole period with its definition. Of a ratio, also what it was divided from."""


class DeliveryDay(BaseModel):
    """One day (UTC). Days on which nothing was received are left out."""

    day: date
    delivered: int = Field(description="events that came by a delivery")
    fetched: int = Field(description="events that were fetched from Stripe, because no delivery had come")
    duplicates: int = Field(description="deliveries of an event that was received before")
    delivery_rate: int | None = Field(
        description="delivered / (delivered + fetched), in basis points; null: duplicates only"
    )


class Deliveries(BaseModel):
    """Whole days: those that the period touches."""

    first_day: date
    last_day: date
    figures: list[DeliveryFigure]
    items: list[DeliveryDay]


@router.get("/deliveries")
async def read_deliveries(_: Admin, context: CurrentContext, period: InPeriod) -> Deliveries:
    """How many of Stripe's events the webhook received, how many had to be fetched, and how many deliveries were
    repeated."""
    first, last = _days(period)
    found = await _counts(context, period)
    totals = sum((counts for _, counts in found), DeliveryCounts())
    figures = [DeliveryFigure.of(name, each, DEFINITIONS[name], context) for name, each in totals.figures.items()]
    return Deliveries(first_day=first, last_day=last, figures=figures, items=[_line(*each) for each in found])


@router.get("/deliveries.csv", response_class=CsvResponse)
async def export_deliveries(_: Admin, context: CurrentContext, period: InPeriod) -> CsvResponse:
    """The days as CSV."""
    lines = [_line(*each) for each in await _counts(context, period)]
    return csv_of_models(DeliveryDay, lines, filename="deliveries.csv")


async def _counts(context: AdminContext, period: Period) -> list[tuple[date, DeliveryCounts]]:
    first, last = _days(period)
    async with context.database.transaction() as db:
        return list(await by_day(db, first=first, last=last))


def _days(period: Period) -> tuple[date, date]:
    return period.since.date(), (period.until - timedelta(microseconds=1)).date()


def _line(day: date, counts: DeliveryCounts) -> DeliveryDay:
    return DeliveryDay(
        day=day,
        delivered=counts.delivered,
        fetched=counts.fetched,
        duplicates=counts.duplicates,
        delivery_rate=counts.delivery_rate.value,
    )
