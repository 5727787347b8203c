"""A sponsor's invoices and students, by the link that an admin has sent it. Nobody signs in."""

from __future__ import annotations

from collections.abc import Awaitable
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from portal.access import Admin
from portal.forms import PostedForm
from portal.record_list_pages import ask, display, export
from portal.renderer import render
from portal.service_client import Api, CurrentApi, ServiceError
from portal.staff_lists import SPONSOR_INVOICES

router = APIRouter(include_in_schema=False)

LINK_HEADERS = {"Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex"}


@router.get("/sponsor/{token}.csv")
async def export_statement(request: Request, api: CurrentApi) -> Response:
    return await _by_link(request, export(request, api, SPONSOR_INVOICES))


@router.get("/sponsor/{token}")
async def show_statement(request: Request, api: CurrentApi) -> Response:
    return await _by_link(request, _statement(request, api))


async def _statement(request: Request, api: Api) -> Response:
    answered = await ask(request, api, SPONSOR_INVOICES, displayed=(400, 422))
    return display(request, SPONSOR_INVOICES, answered, template="sponsor.html")


async def _by_link(request: Request, answer: Awaitable[Response]) -> Response:
    """The address of the page is a secret: no other site learns it, and no search engine keeps it."""
    try:
        made = await answer
    except ServiceError as error:
        if error.status != 404:
            raise
        detail = "The school may have replaced it. Ask the school for the current link."
        made = render(request, "problem.html", 404, title="This link is not valid", detail=detail)
    made.headers.update(LINK_HEADERS)
    return made


@router.post("/caseload/sponsors/{code}/link")
async def change_link(request: Request, code: str, _: Admin, api: CurrentApi, form: PostedForm) -> Response:
    """Makes a link, which is shown once, or revokes it."""
    path = f"/api/admin/sponsors/{quote(code, safe='')}/link"
    if form.get("act") == "revoke":
        await api.delete("checkout", path)
        return RedirectResponse("/caseload?done=revoked", 303)
    made = await api.post("checkout", path)
    return render(request, "sponsor_link.html", code=code, url=made["url"])
