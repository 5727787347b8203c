"""The HTTP API of the figures, for admins: JSON, and CSV for spreadsheets."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from kit.http.auth import Admin, Caller, requires
from kit.http.csv_documents import CsvResponse, csv_of_models
from kit.http.dependencies import CallerUnitOfWork
from kit.http.figures import DefinedFigure, InPeriod
from reporting.figures import queries
from reporting.figures.definitions import DEFINITIONS, FigureName
from reporting.figures.queries import Dimension
from reporting.settings import ApiSettings

router = APIRouter(prefix="/api/admin/figures", tags=["figures"])


class Figure(DefinedFigure[FigureName]):
    """A figure with its definition. Of a ratio, also what it was divided from."""


class Figures(BaseModel):
    since: datetime
    until: datetime
    items: list[Figure]


class RevenueLine(BaseModel):
    """Money of one currency, in minor units. Refunds and lost disputes count in the period of their payment."""

    key: str | None = Field(description="of the dimension: the first day (UTC), a slug, an id; null: not known")
    currency: str
    payments: int
    purchases: int
    gross: int = Field(description="received, with tax, in minor units")
    refunded: int = Field(description="minor units")
    lost: int = Field(description="to disputes, in minor units")
    net: int = Field(description="gross, without what was refunded or lost, in minor units")
    average: int = Field(description="gross of a purchase, rounded down, in minor units")


class Revenue(BaseModel):
    by: Dimension
    since: datetime
    until: datetime
    items: list[RevenueLine]


class FailureLine(BaseModel):
    """Why attempts to pay failed. A payment is counted once, by the code of its last failed attempt."""

    code: str = Field(description="Stripe's decline or error code")
    payments: int
    attempts: int = Field(description="failed ones; of one payment's that are alike, the last 20")
    paid_later: int = Field(description="how many of these payments succeeded in the end")


class Failures(BaseModel):
    since: datetime
    until: datetime
    items: list[FailureLine]


class OutcomeLine(BaseModel):
    """What has become of the enrollments that became active in the period, by now."""

    program: str
    funding_source: str | None = Field(description="WIOA, WRG, …; null: the student paid")
    enrolled: int
    active: int
    paused: int = Field(description="or pending: suspended until something is paid")
    completed: int
    withdrawals: int


class Outcomes(BaseModel):
    since: datetime
    until: datetime
    items: list[OutcomeLine]


@router.get("")
async def read_figures(
    request: Request,
    _: Annotated[Caller, Depends(requires("admin", scope="figures:read"))],
    uow: CallerUnitOfWork,
    period: InPeriod,
) -> Figures:
    """Rates of success, conversion, assignment, refunds and disputes, and the time from payment to enrollment."""
    values = await queries.figures(uow.db, period, now=uow.now)
    settings: ApiSettings = request.app.state.settings
    found = [Figure.of(name, value, DEFINITIONS[name], settings) for name, value in values.items()]
    return Figures(since=period.since, until=period.until, items=found)


@router.get("/revenue")
async def read_revenue(_: Admin, uow: CallerUnitOfWork, period: InPeriod, by: Dimension = "month") -> Revenue:
    """Gross, refunded and net revenue by a dimension, one line for each currency. By `method`: which are popular."""
    items = await _revenue(uow, period, by)
    return Revenue(by=by, since=period.since, until=period.until, items=items)


@router.get("/revenue.csv", response_class=CsvResponse)
async def export_revenue(_: Admin, uow: CallerUnitOfWork, period: InPeriod, by: Dimension = "month") -> CsvResponse:
    """The same as CSV, amounts in minor units."""
    return csv_of_models(RevenueLine, await _revenue(uow, period, by), filename=f"revenue-by-{by}.csv")


async def _revenue(uow: CallerUnitOfWork, period: InPeriod, by: Dimension) -> list[RevenueLine]:
    rows = await queries.revenue(uow.db, period, by)
    return [RevenueLine(**row._mapping, average=row.gross // max(row.purchases, 1)) for row in rows]


@router.get("/failures")
async def read_failures(_: Admin, uow: CallerUnitOfWork, period: InPeriod) -> Failures:
    """Why payments failed, the most frequent code first."""
    items = [FailureLine(**row._mapping) for row in await queries.failures(uow.db, period)]
    return Failures(since=period.since, until=period.until, items=items)


@router.get("/outcomes")
async def read_outcomes(_: Admin, uow: CallerUnitOfWork, period: InPeriod) -> Outcomes:
    """Enrollments by program and funding source: active, paused, completed, withdrawn."""
    return Outcomes(since=period.since, until=period.until, items=await _outcomes(uow, period))


@router.get("/outcomes.csv", response_class=CsvResponse)
async def export_outcomes(_: Admin, uow: CallerUnitOfWork, period: InPeriod) -> CsvResponse:
    """The same as CSV, as workforce boards ask for it."""
    return csv_of_models(OutcomeLine, await _outcomes(uow, period), filename="outcomes.csv")


async def _outcomes(uow: CallerUnitOfWork, period: InPeriod) -> list[OutcomeLine]:
    rows = await queries.outcomes(uow.db, period)
    return [OutcomeLine(**row._mapping) for row in rows]
