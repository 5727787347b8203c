"""A specialist's own items and revenue."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from portal.access import Specialist
from portal.renderer import render
from portal.service_client import CurrentApi

router = APIRouter(include_in_schema=False)

Day = Annotated[str, Query(max_length=10)]


@router.get("/revenue")
async def show_revenue(request: Request, _: Specialist, api: CurrentApi, since: Day = "", until: Day = "") -> Response:
    """Of payments made on these days, both included, in UTC. What is no date is left out."""
    first, last = _date(since), _date(until)
    page = await api.get(
        "checkout",
        "/api/payments/specialist/statistics",
        **{
            "from": f"{first}T00:00:00Z" if first else None,
            "to": f"{last + timedelta(days=1)}T00:00:00Z" if last else None,
        },
    )
    return render(request, "revenue.html", totals=page["items"], since=first, until=last)


def _date(text: str) -> date | None:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return found if 1970 <= found.year <= 9000 else None
