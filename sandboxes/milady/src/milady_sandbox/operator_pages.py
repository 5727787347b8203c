"""What operators and tests see of the sandbox: its enrollments, the requests it got, and the faults in force."""

from __future__ import annotations

import html
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from milady_sandbox.faults import FaultOrder, Faults
from milady_sandbox.page import OPERATOR_PAGE
from milady_sandbox.store import Store

router = APIRouter()


@router.get("/healthz")
async def alive() -> dict[str, str]:
    return {"status": "alive"}


@router.get("/sandbox/api/enrollments")
async def enrollments(request: Request) -> dict[str, Any]:
    return {"items": [asdict(enrollment) for enrollment in _store(request).enrollments.values()]}


@router.get("/sandbox/api/requests")
async def requests(request: Request) -> dict[str, Any]:
    """What has come to /v1, oldest first."""
    return {"items": list(_store(request).requests)}


@router.get("/sandbox/api/faults")
async def faults(request: Request) -> FaultOrder:
    return FaultOrder(faults=_faults(request).ordered)


@router.put("/sandbox/api/faults")
async def order_faults(request: Request, order: FaultOrder) -> FaultOrder:
    """Replaces the faults in force; an empty list clears them."""
    _faults(request).ordered = list(order.faults)
    return order


@router.post("/sandbox/api/reset", status_code=204)
async def reset(request: Request) -> None:
    _store(request).reset()
    _faults(request).ordered = []


@router.get("/", include_in_schema=False)
async def home() -> RedirectResponse:
    return RedirectResponse("/sandbox", 303)


@router.get("/sandbox", response_class=HTMLResponse)
async def page() -> str:
    return OPERATOR_PAGE


@router.get("/learn/{enrollment_id}/{course_id}", response_class=HTMLResponse)
async def course(request: Request, enrollment_id: str, course_id: str) -> HTMLResponse:
    """Where a course link leads."""
    enrollment = _store(request).enrollments.get(enrollment_id)
    title = dict(enrollment.courses).get(course_id) if enrollment else None
    if enrollment is None or title is None:
        return HTMLResponse("<h1>There is no such course here</h1>", 404)
    if enrollment.status != "active":
        return HTMLResponse("<h1>This enrollment has ended</h1>", 403)
    return HTMLResponse(
        f"<title>Milady sandbox</title><h1>{html.escape(title)}</h1><p>Here the course would begin.</p>"
    )


def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


def _faults(request: Request) -> Faults:
    found: Faults = request.app.state.faults
    return found
