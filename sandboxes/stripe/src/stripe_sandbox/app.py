"""The composition root: builds the ASGI application from the settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stripe_sandbox import api, operator_api, pages, state_file
from stripe_sandbox.flows import timeline
from stripe_sandbox.operator_guard import OperatorGuard
from stripe_sandbox.resources.webhook_endpoints import register_own
from stripe_sandbox.settings import Settings
from stripe_sandbox.state import Sandbox

_TICK_SECONDS = 0.5


def create_app(settings: Settings) -> Starlette:
    """One sandbox as an application; the `Sandbox` itself is `app.state.sandbox`."""
    sandbox = Sandbox(settings)
    file = state_file.attached(sandbox)
    register_own(sandbox)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await sandbox.deliveries.start()
        ticking = asyncio.create_task(_tick(sandbox))
        yield
        ticking.cancel()
        with suppress(asyncio.CancelledError):
            await ticking
        await sandbox.deliveries.stop()
        if file is not None:
            file.close()

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    routes = [
        Route("/healthz", healthz),
        *api.routes(sandbox),
        *operator_api.routes(sandbox),
        *pages.routes(sandbox),
    ]
    middleware = [Middleware(_SavedBeforeResponse, sandbox=sandbox)]
    if settings.operator_token is not None:
        middleware.insert(0, Middleware(OperatorGuard, token=settings.operator_token.get_secret_value()))
    app = Starlette(routes=routes, lifespan=lifespan, middleware=middleware)
    app.state.sandbox = sandbox
    app.state.state_file = file
    return app


class _SavedBeforeResponse:
    """Saves the state before the first byte of a response, so that it is never ahead of the file."""

    def __init__(self, app: ASGIApp, sandbox: Sandbox) -> None:
        self._app = app
        self._sandbox = sandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def saved(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._sandbox.save()
            await send(message)

        await self._app(scope, receive, saved if scope["type"] == "http" else send)


async def _tick(sandbox: Sandbox) -> None:
    """Processes what falls due in real time: sessions expire and periods end without a clock advance."""
    while True:
        await asyncio.sleep(_TICK_SECONDS)
        timeline.catch_up(sandbox)
        sandbox.deliver()
        sandbox.save()
