"""Errors as pages for people; /api/... answers with problem documents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response

from kit.http.problems import Problem
from portal.renderer import render
from portal.service_client import ServiceError, ServiceUnavailable
from portal.sessions import Session

log = structlog.get_logger(__name__)

Handler = Callable[[Request, Exception], Awaitable[Response]]

_TITLES = {403: "You may not do this", 404: "This page does not exist", 503: "Not available right now"}
_TEXTS = {404: "The address may be misspelled, or the page has moved."}
_LATER = "A part of the school's system does not answer. Nothing was changed; try again in a moment."


def handle_page_errors(app: FastAPI) -> None:
    """After `create_app`, whose handlers stay for /api/..."""
    for kind in (Problem, HTTPException, RequestValidationError):
        original = cast(Handler, app.exception_handlers[kind])
        app.add_exception_handler(kind, _for_pages(original))
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(ServiceUnavailable, _unavailable)


def _for_pages(original: Handler) -> Handler:
    async def handle(request: Request, error: Exception) -> Response:
        if _is_api(request):
            return await original(request, error)
        status = getattr(error, "status", getattr(error, "status_code", 404))
        detail = _TEXTS.get(status) or getattr(error, "detail", "")
        if isinstance(error, RequestValidationError):
            status, detail = 404, _TEXTS[404]
        return render(request, "problem.html", status, title=_title(status), detail=detail)

    return handle


async def _service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)  # noqa: S101
    session: Session = request.state.session
    if error.status == 401:
        session.sign_out()
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/sign-in?return_to={quote(wanted if request.method == 'GET' else '/')}", 303)
    return render(request, "problem.html", error.status, title=_title(error.status), detail=error.detail)


async def _unavailable(request: Request, error: Exception) -> Response:
    log.warning("service unavailable", error=str(error))
    return render(request, "problem.html", 503, title=_title(503), detail=_LATER)


def _title(status: int) -> str:
    return _TITLES.get(status, "This did not work")


def _is_api(request: Request) -> bool:
    return str(request.scope["path"]).startswith("/api/")
