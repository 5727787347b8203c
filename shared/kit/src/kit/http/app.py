"""Builds the FastAPI app of a process, the same for all services."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache

import structlog
from fastapi import APIRouter, FastAPI, params
from fastapi.middleware.cors import CORSMiddleware
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kit.http.declared_problems import DeclaredProblems
from kit.http.errors import handle_errors, unexpected
from kit.http.health import Check, public_health
from kit.http.openapi import complete
from kit.http.parameters import REFUSE_UNKNOWN_PARAMETERS
from kit.http.problems import TOO_LARGE, Problem
from kit.runtime import metrics
from kit.runtime.trace import begin_trace, trace_id

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SAFE_HEADERS = {
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}
"""Unless a route sets its own. What an API answers is personal, and no page."""
NOT_COUNTED = frozenset({"/healthz", "/readyz", "/metrics"})
_OVER_TLS = {b"strict-transport-security": b"max-age=31536000"}
BODY_LIMIT = 1024 * 1024
"""The largest request body that any API accepts, in bytes."""


def create_app(
    *,
    title: str,
    description: str = "",
    routers: Sequence[APIRouter] = (),
    checks: Mapping[str, Check] | None = None,
    cors_origins: Sequence[str] = (),
    asyncapi: Callable[[], Mapping[str, object]] | None = None,
    dependencies: Sequence[params.Depends] = (),
    package: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> FastAPI:
    """An app with problem+json errors, health, CORS, a body limit, paths that may end in a slash, and admin routes that
    refuse query parameters which they do not have. Its documents and metrics are at another port (`kit.http.internal`).

    `package`: whose problems.json says what each operation can answer. `tags`: what each is about, for the document.
    `asyncapi` builds the AsyncAPI document. That is slow, so it is called on the first request for it.
    """
    app = FastAPI(
        title=title,
        description=description,
        version="1",
        redirect_slashes=False,
        openapi_url=None,
    )
    for router in routers:
        app.include_router(
            router,
            dependencies=[REFUSE_UNKNOWN_PARAMETERS, *dependencies],
        )
    app.state.checks = dict(checks or {})
    app.state.reported = {}
    app.state.declared_problems = DeclaredProblems.of_package(package) if package else None
    app.state.asyncapi = cache(asyncapi) if asyncapi is not None else None
    app.include_router(public_health(app.state.checks))
    handle_errors(app)
    app.add_middleware(BodyGuard)
    if cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(cors_origins),
            allow_methods=["*"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Traceparent"],
            expose_headers=["Retry-After", "Idempotent-Replayed"],
        )
    app.add_middleware(RequestGuard)
    complete(app, tags=tags or {})
    return app


class RequestGuard:
    """The outermost middleware: trace, metrics, safe headers and trailing slashes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if len(path) > 1 and path.endswith("/"):
            scope["path"] = path.rstrip("/") or "/"
        structlog.contextvars.bind_contextvars(trace=trace_id(begin_trace(Headers(scope=scope).get("traceparent"))))
        started_at = time.perf_counter()
        status = 500

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_missing_headers(scope, message)]
            await send(message)

        try:
            await self._app(scope, receive, observed)
        except ClientDisconnect:  # in the middle of its body
            status = 400
        finally:
            route = str(getattr(scope.get("route"), "path", "unmatched"))
            if route not in NOT_COUNTED:
                method = scope["method"] if scope["method"] in _METHODS else "other"
                metrics.REQUESTS.labels(method, route, str(status)).observe(time.perf_counter() - started_at)


class BodyGuard:
    """Body limit and unhandled errors, inside of what adds the headers for other origins: a browser shows a front end
    only answers that have them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > BODY_LIMIT:
                raise _too_large()
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            if _content_length(scope) > BODY_LIMIT:
                await _too_large().response()(scope, receive, noted)
            else:
                await self._app(scope, limited, noted)
        except ClientDisconnect:
            raise
        except Exception as error:
            # not an exception handler: Starlette would raise the error again, and the server would print it
            if started:
                raise
            await unexpected(Request(scope), error)(scope, receive, noted)


def _missing_headers(scope: Scope, message: Message) -> Iterator[tuple[bytes, bytes]]:
    given = {name.lower() for name, _ in message.get("headers", ())}
    wanted = _SAFE_HEADERS | _OVER_TLS if scope.get("scheme") == "https" else _SAFE_HEADERS
    for name, value in wanted.items():
        if name not in given:
            yield name, value


def _too_large() -> Problem:
    return TOO_LARGE(f"The request body must not exceed {BODY_LIMIT} bytes.")


def _content_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
