"""A sponsor's invoices and students, by the link that an admin has sent it. Nobody signs in."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from portal.access import Admin
from portal.forms import PostedForm
from portal.funding import stage_of
from portal.renderer import render
from portal.service_client import CurrentApi, ServiceError

router = APIRouter(include_in_schema=False)

LINK_HEADERS = {"Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex"}


@router.get("/sponsor/{token}")
async def show_statement(
    request: Request, token: str, api: CurrentApi, cursor: Annotated[str | None, Query(max_length=200)] = None
) -> Response:
    path = f"/api/sponsor-statements/{quote(token, safe='')}"
    try:
        statement = await api.get("checkout", path, limit=100, cursor=cursor)
    except ServiceError as error:
        if error.status != 404:
            raise
        detail = "The school may have replaced it. Ask the school for the current link."
        answer: Response = render(request, "problem.html", 404, title="This link is not valid", detail=detail)
    else:
        items = [{**each, "stage": stage_of(each["state"])} for each in statement["items"]]
        answer = render(
            request,
            "sponsor.html",
            sponsor=statement["sponsor"],
            open_items=[each for each in items if each["stage"] == "open"],
            other_items=[each for each in items if each["stage"] != "open"],
            next_page=statement["next"],
        )
    answer.headers.update(LINK_HEADERS)
    return answer


@router.post("/caseload/sponsors/{code}/link")
async def change_link(request: Request, code: str, _: Admin, api: CurrentApi, form: PostedForm) -> Response:
    """Makes a link, which is shown once, or revokes it."""
    path = f"/api/admin/sponsors/{quote(code, safe='')}/link"
    if form.get("act") == "revoke":
        await api.delete("checkout", path)
        return RedirectResponse("/caseload?done=revoked", 303)
    made = await api.post("checkout", path)
    return render(request, "sponsor_link.html", code=code, url=made["url"])
