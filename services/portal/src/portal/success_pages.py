"""After paying: what has become of the purchase. The event decides it, not the browser's return."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from portal.access import CurrentSession
from portal.purchase_status import status_of
from portal.renderer import render
from portal.service_client import Api, CurrentApi, ServiceError

router = APIRouter(include_in_schema=False)

Text = Annotated[str, Query(max_length=300)]


@router.get("/enroll/success")
async def show_success(
    request: Request, api: CurrentApi, session: CurrentSession, session_id: Text = "", program: Text = ""
) -> Response:
    return await _page(request, api, session, "success.html", session_id=session_id, program=program)


@router.get("/enroll/success/status")
async def show_status(
    request: Request, api: CurrentApi, session: CurrentSession, session_id: Text = "", program: Text = ""
) -> Response:
    """The part of the page that changes; the browser asks for it again until the status is settled."""
    return await _page(request, api, session, "purchase_status.html", session_id=session_id, program=program)


@router.get("/membership")
async def show_membership(
    request: Request, api: CurrentApi, session: CurrentSession, session_id: Text = "", canceled: Text = ""
) -> Response:
    """Where Stripe returns from the page of a membership."""
    if canceled:
        return RedirectResponse("/enroll/cancel?program=membership", 303)
    if session_id:
        return await _page(request, api, session, "success.html", session_id=session_id, program="membership")
    return RedirectResponse("/dashboard/membership", 303)


@router.get("/courses/{reference}")
async def show_course(
    request: Request, reference: str, api: CurrentApi, session: CurrentSession, success: Text = "", canceled: Text = ""
) -> Response:
    """A course's page. Stripe returns here from the page where it is paid."""
    offers = await api.all("checkout", "/api/catalog", limit=200)
    slug = next((each["slug"] for each in offers if reference in (each["slug"], each["id"])), reference)
    if success:
        return await _page(request, api, session, "success.html", session_id="", program=slug)
    if canceled:
        return RedirectResponse(f"/enroll/cancel?program={slug}", 303)
    return RedirectResponse(f"/enroll/items/{slug}", 303)


@router.get("/enroll/cancel")
async def show_cancellation(request: Request, program: Text = "") -> Response:
    return render(request, "cancel.html", program=program)


async def _page(
    request: Request, api: Api, session: CurrentSession, template: str, *, session_id: str, program: str
) -> Response:
    purchase = await _purchase(api, session, session_id=session_id, program=program)
    status = status_of(purchase)
    return render(
        request,
        template,
        purchase=purchase,
        status=status,
        session_id=session_id,
        program=program,
        polls=not status.settled,
    )


async def _purchase(api: Api, session: CurrentSession, *, session_id: str, program: str) -> Mapping[str, Any] | None:
    """By the session's id; without one, the latest of this item of the person who is signed in."""
    if session_id:
        try:
            found: Mapping[str, Any] = await api.get("checkout", f"/api/checkout-sessions/{_segment(session_id)}")
        except ServiceError as error:
            if error.status in (404, 422):
                return None
            raise
        return found
    if session.user is None or not program:
        return None
    page = await api.get("checkout", "/api/purchases", product=program, user_id=session.user.subject, limit=1)
    return next(iter(page["items"]), None)


def _segment(text: str) -> str:
    """A path segment; what cannot be a session's id becomes one that no session has."""
    return text if text.isascii() and text.replace("_", "").isalnum() else "unknown"
