"""The operator API (enrollments, requests, faults), the operator page and the course pages."""

from __future__ import annotations

import html
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from milady_sandbox.faults import FaultList, Faults
from milady_sandbox.page import OPERATOR_PAGE
from milady_sandbox.store import Store

router = APIRouter()


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    return {"status": "alive"}


@router.get("/sandbox/api/enrollments")
async def enrollments(request: Request) -> dict[str, Any]:
    return {"items": [asdict(enrollment) for enrollment in _store(request).enrollments.values()]}


@router.get("/sandbox/api/requests")
async def requests(request: Request) -> dict[str, Any]:
    """Requests to /v1, oldest first."""
    return {"items": list(_store(request).requests)}


@router.get("/sandbox/api/faults")
async def faults(request: Request) -> FaultList:
    return FaultList(faults=_faults(request).active)


@router.put("/sandbox/api/faults")
async def replace_faults(request: Request, body: FaultList) -> FaultList:
    """Replaces the faults in force; an empty list clears them."""
    _faults(request).replace(list(body.faults))
    return body


@router.post("/sandbox/api/reset", status_code=204)
async def reset(request: Request) -> None:
    _store(request).reset()
    _faults(request).replace([])


@router.get("/", include_in_schema=False)
async def home() -> RedirectResponse:
    return RedirectResponse("/sandbox", 303)


@router.get("/sandbox", response_class=HTMLResponse)
async def page() -> str:
    return OPERATOR_PAGE


@router.get("/learn/{enrollment_id}/{course_id}", response_class=HTMLResponse)
async def course(request: Request, enrollment_id: str, course_id: str) -> HTMLResponse:
    """The target of a course link."""
    enrollment = _store(request).enrollments.get(enrollment_id)
    title = dict(enrollment.courses).get(course_id) if enrollment else None
    if enrollment is None or title is None:
        return HTMLResponse("<h1>Course not found</h1>", 404)
    if enrollment.status != "active":
        return HTMLResponse("<h1>This enrollment was withdrawn</h1>", 403)
    return HTMLResponse(
        f"<title>Milady sandbox</title><h1>{html.escape(title)}</h1><p>This is where the course starts.</p>"
    )


def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


def _faults(request: Request) -> Faults:
    faults: Faults = request.app.state.faults
    return faults
