"""Where the browser is sent to pay: only to the origins that the settings allow."""

from __future__ import annotations

from urllib.parse import urlsplit

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from portal.renderer import render
from portal.service_client import CurrentApi, problem_of
from portal.settings import ApiSettings

log = structlog.get_logger(__name__)

router = APIRouter(include_in_schema=False)

_TITLES = {404: "There is no such payment link", 409: "The price has changed", 410: "Nothing is owed"}
_HEADERS = {"Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex"}


def payment_redirect(request: Request, url: str) -> Response:
    settings: ApiSettings = request.app.state.settings
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    if origin not in (*settings.payment_origins, settings.portal_url):
        log.error("a payment page is not of PAYMENT_ORIGINS", origin=origin)
        detail = "The payment page cannot be opened. No money was taken."
        return render(request, "problem.html", 502, title="This did not work", detail=detail)
    return RedirectResponse(url, 303, headers=_HEADERS)


@router.get("/pay/{token}")
async def pay(request: Request, token: str, api: CurrentApi) -> Response:
    """The link of mails: opens the page where this is paid, or says why nothing has to be paid."""
    return await _follow(request, api, f"/pay/{token}")


@router.head("/pay/{token}")
async def look_at_link(token: str) -> Response:
    """Mail scanners ask. Opens nothing."""
    return Response(status_code=204)


@router.get("/pay/{token}/invoice.pdf")
async def read_invoice(request: Request, token: str, api: CurrentApi) -> Response:
    return await _follow(request, api, f"/pay/{token}/invoice.pdf")


async def _follow(request: Request, api: CurrentApi, path: str) -> Response:
    answer = await api.send("checkout", "GET", path)
    if answer.status_code == 303:
        return payment_redirect(request, answer.headers["location"])
    problem = problem_of(answer)
    title = _TITLES.get(problem.status, "This link cannot be opened now")
    return render(request, "problem.html", problem.status, title=title, detail=problem.detail, again="/enroll")
