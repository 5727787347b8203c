"""A student's saved payment methods, and changes of their membership."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from portal.access import SignedInAs
from portal.forms import PostedForm
from portal.payment_pages import payment_redirect
from portal.renderer import render
from portal.service_client import Api, CurrentApi, ServiceError

router = APIRouter(prefix="/dashboard", include_in_schema=False, dependencies=[Depends(SignedInAs("student"))])

MethodId = Annotated[str, Path(pattern="^[A-Za-z0-9_]{1,255}$")]
_DONE = {
    "default": "Everything that is still to be charged is charged to this payment method from now on.",
    "removed": "The payment method was removed. It cannot be charged anymore.",
    "change": "Your membership was changed.",
    "pause": "Your membership is paused. Nothing is charged until it is resumed.",
    "resume": "Your membership goes on.",
    "cancel": "Your membership was canceled.",
}
"""What the page says after a form has been accepted."""


@router.get("/methods")
async def show_methods(request: Request, api: CurrentApi, done: str = "") -> Response:
    return await _methods(request, api, done=done)


@router.post("/methods/add")
async def add_method(request: Request, api: CurrentApi, _: PostedForm) -> Response:
    """On Stripe's page, which leads back here."""
    back = {"return_url": f"{request.app.state.settings.portal_url}/dashboard/methods"}
    answer = await api.post("checkout", "/api/payments/billing-portal", back)
    return payment_redirect(request, answer["url"])


@router.post("/methods/{method_id}/{act}")
async def change_method(
    request: Request, method_id: MethodId, act: Literal["default", "remove"], api: CurrentApi, _: PostedForm
) -> Response:
    path = f"/api/payments/methods/{method_id}"
    try:
        if act == "default":
            await api.post("checkout", f"{path}/default")
        else:
            await api.delete("checkout", path)
    except ServiceError as error:
        if error.status == 401:
            raise
        return await _methods(request, api, problem=error)
    return RedirectResponse(f"/dashboard/methods?done={'default' if act == 'default' else 'removed'}", 303)


@router.get("/membership")
async def show_membership(request: Request, api: CurrentApi, done: str = "") -> Response:
    return await _membership(request, api, done=done)


@router.post("/membership/{membership_id}/{act}")
async def change_membership(
    request: Request,
    membership_id: UUID,
    act: Literal["change", "pause", "resume", "cancel"],
    api: CurrentApi,
    form: PostedForm,
) -> Response:
    body: dict[str, object] = {}
    match act:
        case "change":
            tier, _, interval = form.get("to", "").partition("/")
            body = {"membership": tier, "interval": interval or None}
        case "pause" if form.get("resumes_on"):
            body = {"resumes_at": f"{form['resumes_on']}T00:00:00Z"}
        case "cancel":
            body = {"at": "now" if form.get("at") == "now" else "period_end"}
    try:
        key = form.get("key") or str(uuid4())
        await api.post("checkout", f"/api/memberships/{membership_id}/{act}", body, key=key)
    except ServiceError as error:
        if error.status == 401:
            raise
        return await _membership(request, api, problem=error)
    return RedirectResponse(f"/dashboard/membership?done={act}", 303)


async def _methods(request: Request, api: Api, *, done: str = "", problem: ServiceError | None = None) -> Response:
    page = await api.get("checkout", "/api/payments/methods")
    return render(
        request,
        "methods.html",
        422 if problem else 200,
        methods=page["items"],
        done=_DONE.get(done),
        problem=problem,
    )


async def _membership(request: Request, api: Api, *, done: str = "", problem: ServiceError | None = None) -> Response:
    catalog, membership = await asyncio.gather(api.all("checkout", "/api/catalog", limit=200), _current(api))
    offers = [each for each in catalog if each["kind"] == "membership"]
    return render(
        request,
        "membership.html",
        422 if problem else 200,
        membership=membership,
        name=next((each["name"] for each in offers if membership and each["tier"] == membership["tier"]), None),
        offers=offers,
        done=_DONE.get(done),
        problem=problem,
        key=str(uuid4()),
    )


async def _current(api: Api) -> dict[str, Any] | None:
    try:
        membership: dict[str, Any] = await api.get("checkout", "/api/memberships/current")
    except ServiceError as error:
        if error.code == "no_membership":
            return None
        raise
    return membership
