"""Errors as RFC 9457 problem+json: a stable `code`, and a `detail` for people."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from kit.db.database import cannot_be_stored, is_down, lost_a_race
from kit.http.audit import current_actor
from kit.runtime.failures import Transient, describe

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"


class ProblemDocument(BaseModel):
    """RFC 9457 problem details. Some problems have additional members, which `detail` mentions."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="urn:bursar:problem:<code>")
    title: str
    status: int
    code: str = Field(description="stable; clients may rely on it")
    detail: str = Field(description="for people: what is wrong, and what to do about it")


PROBLEM_RESPONSE: dict[str, Any] = {
    "model": ProblemDocument,
    "description": "A problem document, identified by its `code`.",
    "content": {MEDIA_TYPE: {}},
}


class Problem(Exception):
    """An error response. `extra` members are added to the standard ones."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers
        self.extra = extra

    def response(self) -> JSONResponse:
        body = {
            "type": f"urn:bursar:problem:{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            **self.extra,
        }
        return JSONResponse(body, self.status, headers=dict(self.headers or {}), media_type=MEDIA_TYPE)


REFUSAL_SECONDS = 60.0


class RefusalLog:
    """Logs who was refused what, and why. Requests without a valid token are logged together, by the problem's code at
    most one line a minute: anyone could fill the log with them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds."""
        self._clock = clock
        self._requests: dict[str, int] = {}
        self._due: dict[str, float] = {}

    def note(self, request: Request, error: Problem) -> None:
        what = {"route": route_of(request), "status": error.status, "code": error.code}
        actor = current_actor()
        if actor is not None and error.status != HTTPStatus.UNAUTHORIZED:
            log.info("request refused", **what, actor=actor.id, role=actor.role)
            return
        requests = self._requests.get(error.code, 0) + 1
        if (now := self._clock()) >= self._due.get(error.code, -math.inf):
            log.info("requests without a valid token refused", **what, requests=requests)
            requests, self._due[error.code] = 0, now + REFUSAL_SECONDS
        self._requests[error.code] = requests


def handle_errors(app: FastAPI, refusals: RefusalLog | None = None) -> None:
    """Turns expected errors into problem documents, which never quote the request."""
    refusals = refusals or RefusalLog()

    async def _problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)  # noqa: S101
        refusals.note(request, error)
        return error.response()

    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    return invalid(error.errors()).response()


def invalid(found: Sequence[Any]) -> Problem:
    """422 with the location and the type of each error, without the values."""
    errors = [{"field": ".".join(map(str, e["loc"])), "problem": e["msg"], "kind": e["type"]} for e in found]
    return Problem(422, "invalid_request", "The request is invalid; see `errors`.", errors=errors)


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    details = {404: "Not found.", 405: "Method not allowed."}
    detail = details.get(error.status_code, HTTPStatus(error.status_code).description or code)
    return Problem(error.status_code, code, detail, headers=error.headers).response()


def unexpected(request: Request, error: Exception) -> Response:
    """The response to an unhandled error. A bug is logged without its message, which may quote data."""
    if is_down(error) or lost_a_race(error) or isinstance(error, Transient):
        log.warning("unavailable", route=route_of(request), error=describe(error))
        detail = "A dependency is unavailable. The request was not processed; retry."
        return Problem(503, "unavailable", detail, headers={"Retry-After": "2"}).response()
    if cannot_be_stored(error):
        return Problem(
            422, "invalid_request", "A value in the request cannot be stored, such as text with a NUL."
        ).response()
    log.error("unexpected", route=route_of(request), exc_info=error)
    return Problem(500, "internal_error", "Internal error. It has been logged.").response()


def route_of(request: Request) -> str:
    """The route's path template (without ids), for logs and metrics."""
    return str(getattr(request.scope.get("route"), "path", "unmatched"))
