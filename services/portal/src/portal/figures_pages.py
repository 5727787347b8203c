"""The school's figures for admins: rates with definitions and targets, revenue, receivables, failures, outcomes, and
how Stripe's events came."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from portal.access import Admin
from portal.admin_lists import GATEWAY
from portal.charts import RateChart, charts, rate_chart
from portal.record_list import start_of_day
from portal.renderer import render
from portal.service_client import CurrentApi, ServiceError, csv_of

router = APIRouter(prefix="/admin/figures", include_in_schema=False)

Dimension = Literal[
    "day", "week", "month", "year", "program", "kind", "category", "specialist", "sponsor", "method", "total"
]
DAYS = 31
"""Of deliveries, the latest on the page. All of them are in the CSV."""
FIGURES = "/api/admin/figures"
DELIVERIES = "/api/admin/deliveries"
Day = Annotated[str, Query(max_length=10, description="YYYY-MM-DD; empty: the default")]


@router.get("")
async def show_figures(
    request: Request, _: Admin, api: CurrentApi, by: Dimension = "month", since: Day = "", until: Day = ""
) -> Response:
    period = _period(since, until)
    chosen = {"by": by, "dimensions": get_args(Dimension), "since": since, "until": until}
    try:
        figures, revenue, failures, outcomes, receivables, deliveries = await asyncio.gather(
            api.get("reporting", FIGURES, **period),
            api.get("reporting", f"{FIGURES}/revenue", by=by, **period),
            api.get("reporting", f"{FIGURES}/failures", **period),
            api.get("reporting", f"{FIGURES}/outcomes", **period),
            api.get("checkout", "/api/admin/receivables"),
            api.optional_answer(GATEWAY, DELIVERIES, **period),
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
        rates=figures["items"] + (deliveries["figures"] if deliveries else []),
        revenue=revenue,
        charts=charts(revenue["items"]),
        failures=failures,
        outcomes=outcomes,
        receivables=receivables,
        deliveries=deliveries,
        days=deliveries["items"][-DAYS:] if deliveries else [],
        delivery_chart=_delivery_chart(deliveries) if deliveries else None,
    )


def _delivery_chart(deliveries: Mapping[str, Any]) -> RateChart:
    """Of Deliveries in docs/openapi/webhook-gateway-admin.json."""
    rates = [
        (each["day"], each["delivery_rate"])
        for each in deliveries["items"][-DAYS:]
        if each["delivery_rate"] is not None
    ]
    target = next((each["target"] for each in deliveries["figures"] if each["name"] == "webhook_delivery_rate"), None)
    return rate_chart(rates, target=target)


@router.get("/{name}.csv")
async def export_figures(
    name: Literal["revenue", "outcomes", "receivables", "deliveries"],
    _: Admin,
    api: CurrentApi,
    by: Dimension = "month",
    since: Day = "",
    until: Day = "",
) -> Response:
    params = _period(since, until)
    match name:
        case "receivables":  # as they are now
            answer = await api.send("checkout", "GET", "/api/admin/receivables.csv")
        case "deliveries":
            answer = await api.send(GATEWAY, "GET", f"{DELIVERIES}.csv", params=params)
        case "revenue":
            answer = await api.send("reporting", "GET", f"{FIGURES}/revenue.csv", params={"by": by, **params})
        case "outcomes":
            answer = await api.send("reporting", "GET", f"{FIGURES}/outcomes.csv", params=params)
    return csv_of(answer)


def _period(since: str, until: str) -> dict[str, str]:
    """Both days are included. What is no day is left to the default."""
    days = {"since": start_of_day(since), "until": start_of_day(until, after=1)}
    return {name: day for name, day in days.items() if day}
