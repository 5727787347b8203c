"""The HTTP side of a process: one way to build an app, so that all answer alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache

from fastapi import APIRouter, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kit.http.errors import PROBLEM_RESPONSE, Problem, handle_errors, unexpected
from kit.http.health import Check, health_routes
from kit.runtime import metrics

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BODY_LIMIT = 1024 * 1024
"""Bytes; the largest request body that any API takes."""


def create_app(
    *,
    title: str,
    description: str = "",
    routers: Sequence[APIRouter] = (),
    checks: Mapping[str, Check] | None = None,
    cors_origins: Sequence[str] = (),
    asyncapi: Callable[[], Mapping[str, object]] | None = None,
) -> FastAPI:
    """An app with problem+json errors, health, metrics, CORS, a body limit, and paths that may end in a slash.

    `asyncapi` builds the document, which takes long; it is called at most once, when somebody asks for it.
    """
    app = FastAPI(
        title=title,
        description=description,
        version="1",
        redirect_slashes=False,
        openapi_url="/openapi.json",
        docs_url="/docs",
        redoc_url=None,
    )
    for router in routers:
        app.include_router(router, responses={422: PROBLEM_RESPONSE, "default": PROBLEM_RESPONSE})
    app.state.checks = dict(checks or {})
    app.state.reported = {}
    app.include_router(health_routes(app.state.checks, app.state.reported))
    if asyncapi is not None:
        document = cache(asyncapi)

        @app.get("/asyncapi.json", include_in_schema=False)
        async def asyncapi_document() -> Mapping[str, object]:
            return document()

    handle_errors(app)
    if cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(cors_origins),
            allow_methods=["*"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Traceparent"],
            expose_headers=["Retry-After", "Idempotent-Replayed"],
        )
    app.add_middleware(Edge)
    return app


class Edge:
    """The outermost layer: measures, limits the body, and takes a trailing slash off the path."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if len(path) > 1 and path.endswith("/"):
            scope["path"] = path.rstrip("/") or "/"
        began = time.perf_counter()
        status = 500
        started = False
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > BODY_LIMIT:
                raise _too_large()
            return message

        async def watched(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
            await send(message)

        try:
            if _announced_length(scope) > BODY_LIMIT:
                await _too_large().response()(scope, receive, watched)
            else:
                await self._app(scope, limited, watched)
        except Exception as error:
            # here and not in an exception handler: the framework would raise it once more, for the server to print
            if started:
                raise
            await unexpected(Request(scope), error)(scope, receive, watched)
        finally:
            route = str(getattr(scope.get("route"), "path", "unmatched"))
            if route not in ("/healthz", "/readyz", "/metrics"):
                method = scope["method"] if scope["method"] in _METHODS else "other"
                metrics.REQUESTS.labels(method, route, str(status)).observe(time.perf_counter() - began)


def _too_large() -> Problem:
    return Problem(413, "too_large", f"A body may have {BODY_LIMIT} bytes at the most.")


def _announced_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
