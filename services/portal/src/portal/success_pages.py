"""After paying: what has become of the purchase. The event decides it, not the browser's return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from portal.access import CurrentSession, SignInRequired
from portal.purchase_status import Status, attempt_of, status_of
from portal.renderer import render
from portal.service_client import Api, CurrentApi, ServiceError

router = APIRouter(include_in_schema=False)

Text = Annotated[str, Query(max_length=300)]


@dataclass(frozen=True)
class Paid:
    """What the address says has been paid: a checkout session, or an item, by an intent if it was by the card form."""

    session_id: Text = ""
    program: Text = ""
    payment_intent: Text = ""

    @property
    def query(self) -> str:
        return urlencode({name: value for name, value in asdict(self).items() if value})


WhatIsPaid = Annotated[Paid, Depends()]


@router.get("/enroll/success")
async def show_success(
    request: Request,
    api: CurrentApi,
    session: CurrentSession,
    paid: WhatIsPaid,
    payment_intent_client_secret: Text = "",
) -> Response:
    if payment_intent_client_secret:  # Stripe appends it; it must not stay in the address
        headers = {"Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
        return RedirectResponse(f"/enroll/success?{paid.query}", 303, headers=headers)
    if paid.payment_intent and session.user is None:
        raise SignInRequired(f"/enroll/success?{paid.query}")
    return await _page(request, api, session, "success.html", paid)


@router.get("/enroll/success/status")
async def show_status(request: Request, api: CurrentApi, session: CurrentSession, paid: WhatIsPaid) -> Response:
    """The part of the page that changes; the browser asks for it again until the status is settled."""
    return await _page(request, api, session, "purchase_status.html", paid)


@router.get("/membership")
async def show_membership(
    request: Request, api: CurrentApi, session: CurrentSession, session_id: Text = "", canceled: Text = ""
) -> Response:
    """Where Stripe returns from the page of a membership."""
    if canceled:
        return RedirectResponse("/enroll/cancel?program=membership", 303)
    if session_id:
        return await _page(request, api, session, "success.html", Paid(session_id, "membership"))
    return RedirectResponse("/dashboard/membership", 303)


@router.get("/courses/{reference}")
async def show_course(
    request: Request, reference: str, api: CurrentApi, session: CurrentSession, success: Text = "", canceled: Text = ""
) -> Response:
    """A course's page. Stripe returns here from the page where it is paid."""
    offers = await api.all("checkout", "/api/catalog", limit=200)
    slug = next((each["slug"] for each in offers if reference in (each["slug"], each["id"])), reference)
    if success:
        return await _page(request, api, session, "success.html", Paid(program=slug))
    if canceled:
        return RedirectResponse(f"/enroll/cancel?program={slug}", 303)
    return RedirectResponse(f"/enroll/items/{slug}", 303)


@router.get("/enroll/cancel")
async def show_cancellation(request: Request, program: Text = "") -> Response:
    return render(request, "cancel.html", program=program)


async def _page(request: Request, api: Api, session: CurrentSession, template: str, paid: Paid) -> Response:
    purchase = await _purchase(api, session, paid)
    status = status_of(purchase)
    if purchase is not None and purchase["status"] == "awaiting_payment" and paid.payment_intent:
        status = await _attempt(api, paid.payment_intent) or status
    return render(request, template, purchase=purchase, status=status, paid=paid, polls=not status.settled)


async def _purchase(api: Api, session: CurrentSession, paid: Paid) -> Mapping[str, Any] | None:
    """By the session's id; without one, the latest of this item of the person who is signed in."""
    if paid.session_id:
        try:
            found: Mapping[str, Any] = await api.get("checkout", f"/api/checkout-sessions/{_segment(paid.session_id)}")
        except ServiceError as error:
            if error.status in (404, 422):
                return None
            raise
        return found
    if session.user is None or not paid.program:
        return None
    page = await api.get("checkout", "/api/purchases", product=paid.program, user_id=session.user.subject, limit=1)
    return next(iter(page["items"]), None)


async def _attempt(api: Api, intent: str) -> Status | None:
    """What has become of the caller's last attempt to pay, where no event has arrived; None: nothing is known."""
    try:
        state = await api.get("checkout", f"/api/payments/status/{_segment(intent)}")
    except ServiceError as error:
        if error.status in (404, 422):
            return None
        raise
    return attempt_of(state["stripe_status"])


def _segment(text: str) -> str:
    """A path segment; what cannot be an id of Stripe's becomes one that nothing has."""
    return text if text.isascii() and text.replace("_", "").isalnum() else "unknown"
