"""One purchase: everything that has happened to it, and what admins do about it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from portal.access import Admin
from portal.amounts import minor_units
from portal.forms import PostedForm
from portal.renderer import render
from portal.service_client import Api, CurrentApi, ServiceError

router = APIRouter(prefix="/admin/purchases/{purchase_id}", include_in_schema=False)

Act = Literal["cancel", "accept", "resume-collection"]
_FIELDS = ("reason", "refund", "refund_amount")
_DONE = {
    "cancel": "The purchase was canceled. If something is refunded, Stripe makes the refund in a moment.",
    "accept": "What was paid is accepted. The enrollment opens in a moment.",
    "resume-collection": "The purchase is collected again.",
}


@router.get("")
async def show_purchase(request: Request, purchase_id: UUID, _: Admin, api: CurrentApi, done: str = "") -> Response:
    """Everything that has happened to it, in all services."""
    timeline, overview = await asyncio.gather(
        api.get("reporting", f"/api/admin/purchases/{purchase_id}/timeline"), _overview(api, purchase_id)
    )
    values = {"purchase_id": purchase_id, "events": timeline["events"], "overview": overview}
    return render(request, "admin_purchase.html", **values, done=_DONE.get(done, ""), problem=None)


@router.get("/{act}")
async def ask_to_change(request: Request, purchase_id: UUID, act: Act, _: Admin, api: CurrentApi) -> Response:
    """What will happen, before it does."""
    overview = await api.get("checkout", f"/api/enrollments/{purchase_id}/payment")
    return _confirmation(request, purchase_id, act, overview)


@router.post("/{act}")
async def change(
    request: Request, purchase_id: UUID, act: Act, _: Admin, api: CurrentApi, form: PostedForm
) -> Response:
    overview = await api.get("checkout", f"/api/enrollments/{purchase_id}/payment")
    try:
        await _do(api, overview["purchase_id"], act, form, currency=overview["currency"])
    except ServiceError as error:
        if error.status in (401, 403):
            raise
        return _confirmation(request, purchase_id, act, overview, problem=error, given=form)
    return RedirectResponse(f"/admin/purchases/{purchase_id}?done={act}", 303)


async def _do(api: Api, id: str, act: Act, form: Mapping[str, str], *, currency: str) -> None:
    """Raises ServiceError."""
    reason = form.get("reason", "").strip()
    match act:
        case "cancel":
            body = {"reason": reason, **_refund(form, currency)}
            await api.post("checkout", f"/api/admin/enrollments/{id}/cancel", body)
        case "accept":
            await api.post("checkout", f"/api/admin/purchases/{id}/accept", {"reason": reason})
        case "resume-collection":
            await api.post("checkout", f"/api/admin/payments/schedules/{id}/resume-collection")


def _refund(form: Mapping[str, str], currency: str) -> dict[str, str]:
    """Of the cancellation's body: empty for a refund by the school's policy. Raises ServiceError for no amount."""
    match form.get("refund"):
        case "policy":
            return {}
        case "none":
            return {"refund_amount": "0"}
    text = form.get("refund_amount", "").strip()
    try:
        minor_units(text, currency)
    except ValueError:
        detail = "Choose what is refunded; write an amount like 1,222.50."
        raise ServiceError(422, "invalid_request", detail, {}) from None
    return {"refund_amount": text.replace(",", "")}


async def _overview(api: Api, purchase_id: UUID) -> dict[str, Any] | None:
    """None where checkout does not know the purchase."""
    try:
        found: dict[str, Any] = await api.get("checkout", f"/api/enrollments/{purchase_id}/payment")
    except ServiceError as error:
        if error.status != 404:
            raise
        return None
    return found


def _confirmation(
    request: Request,
    purchase_id: UUID,
    act: Act,
    overview: Mapping[str, Any],
    *,
    problem: ServiceError | None = None,
    given: Mapping[str, str] | None = None,
) -> Response:
    kept = {name: (given or {}).get(name, "") for name in _FIELDS}
    values = {"purchase_id": purchase_id, "act": act, "overview": overview, "given": kept}
    return render(request, "admin_purchase_change.html", 422 if problem else 200, **values, problem=problem)
