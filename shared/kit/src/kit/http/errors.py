"""Answers every error of a request with a problem: those that routes raise, invalid requests, and the unexpected."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from kit.db.database import cannot_be_stored, is_down, lost_a_race
from kit.http.audit import current_actor
from kit.http.declared_problems import DeclaredProblems
from kit.http.problems import (
    BAD_REQUEST,
    INTERNAL_ERROR,
    INVALID_REQUEST,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    UNAVAILABLE,
    Problem,
    ProblemType,
)
from kit.runtime.failures import Transient, describe

log = structlog.get_logger(__name__)

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
        return _answer(request, error)

    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


def _answer(request: Request, problem: Problem) -> Response:
    declared: DeclaredProblems | None = getattr(request.app.state, "declared_problems", None)
    if declared is not None:
        declared.check(getattr(request.scope.get("route"), "name", None), problem)
    return problem.response()


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    return _answer(request, invalid(error.errors()))


def invalid(found: Sequence[Any]) -> Problem:
    """422 with the location and the type of each error, without the values."""
    errors = [{"field": ".".join(map(str, e["loc"])), "problem": e["msg"], "kind": e["type"]} for e in found]
    return INVALID_REQUEST("The request is invalid; see `errors`.", errors=errors)


async def _http(request: Request, error: Exception) -> Response:
    """What FastAPI and Starlette refuse by themselves."""
    assert isinstance(error, HTTPException)  # noqa: S101
    type = _OF_STATUS.get(error.status_code)
    if type is None:
        phrase = HTTPStatus(error.status_code).phrase
        type = ProblemType(
            error.status_code, phrase.lower().replace(" ", "_"), f"{phrase}.", "See the OpenAPI document."
        )
    problem = type(headers=error.headers)
    return _answer(request, problem) if type is BAD_REQUEST else problem.response()  # others are of no operation


_OF_STATUS = {each.status: each for each in (BAD_REQUEST, NOT_FOUND, METHOD_NOT_ALLOWED)}


def unexpected(request: Request, error: Exception) -> Response:
    """The response to an unhandled error. A bug is logged without its message, which may quote data."""
    if is_down(error) or lost_a_race(error) or isinstance(error, Transient):
        log.warning("unavailable", route=route_of(request), error=describe(error))
        return UNAVAILABLE(headers={"Retry-After": "2"}).response()
    if cannot_be_stored(error):
        return INVALID_REQUEST("A value in the request cannot be stored, such as text with a NUL.").response()
    log.error("unexpected", route=route_of(request), exc_info=error)
    return INTERNAL_ERROR().response()


def route_of(request: Request) -> str:
    """The route's path template (without ids), for logs and metrics."""
    return str(getattr(request.scope.get("route"), "path", "unmatched"))
