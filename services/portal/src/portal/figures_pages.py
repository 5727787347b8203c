"""The school's figures for admins: rates with definitions and targets, revenue, receivables, failures, outcomes."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal, get_args

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from portal.access import Admin
from portal.charts import charts
from portal.record_list import start_of_day
from portal.renderer import render
from portal.service_client import CurrentApi, ServiceError, csv_of

router = APIRouter(prefix="/admin/figures", include_in_schema=False)

Dimension = Literal[
    "day", "week", "month", "year", "program", "kind", "category", "specialist", "sponsor", "method", "total"
]
Day = Annotated[str, Query(max_length=10, description="YYYY-MM-DD; empty: the default")]


@router.get("")
async def show_figures(
    request: Request, _: Admin, api: CurrentApi, by: Dimension = "month", since: Day = "", until: Day = ""
) -> Response:
    period = _period(since, until)
    chosen = {"by": by, "dimensions": get_args(Dimension), "since": since, "until": until}
    try:
        figures, revenue, failures, outcomes, receivables = await asyncio.gather(
            api.get("reporting", "/api/admin/figures", **period),
            api.get("reporting", "/api/admin/figures/revenue", by=by, **period),
            api.get("reporting", "/api/admin/figures/failures", **period),
            api.get("reporting", "/api/admin/figures/outcomes", **period),
            api.get("checkout", "/api/admin/receivables"),
        )
    except ServiceError as error:
        if error.status != 422:
            raise
        return render(request, "figures.html", 422, **chosen, problem=error)
    return render(
        request,
        "figures.html",
        200,
        **chosen,
        problem=None,
        figures=figures,
        revenue=revenue,
        charts=charts(revenue["items"]),
        failures=failures,
        outcomes=outcomes,
        receivables=receivables,
    )


@router.get("/{name}.csv")
async def export_figures(
    name: Literal["revenue", "outcomes", "receivables"],
    _: Admin,
    api: CurrentApi,
    by: Dimension = "month",
    since: Day = "",
    until: Day = "",
) -> Response:
    params = {"by": by, **_period(since, until)} if name == "revenue" else _period(since, until)
    if name == "receivables":  # as they are now
        answer = await api.send("checkout", "GET", "/api/admin/receivables.csv")
    else:
        answer = await api.send("reporting", "GET", f"/api/admin/figures/{name}.csv", params=params)
    return csv_of(answer)


def _period(since: str, until: str) -> dict[str, str]:
    """Both days are included. What is no day is left to the default."""
    days = {"since": start_of_day(since), "until": start_of_day(until, after=1)}
    return {name: day for name, day in days.items() if day}
