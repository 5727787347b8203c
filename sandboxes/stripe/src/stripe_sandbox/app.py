"""The composition root: builds the ASGI application from the settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stripe_sandbox import api, operator_api, pages
from stripe_sandbox.flows import timeline
from stripe_sandbox.ids import new_id
from stripe_sandbox.resources.webhook_endpoints import register
from stripe_sandbox.settings import Settings
from stripe_sandbox.state import Sandbox

_TICK_SECONDS = 0.5


def create_app(settings: Settings) -> Starlette:
    """One sandbox as an application; the `Sandbox` itself is `app.state.sandbox`."""
    sandbox = Sandbox(settings)
    if settings.webhook_url:
        secret = settings.webhook_secret.get_secret_value() if settings.webhook_secret else new_id("whsec", 32)
        register(sandbox, settings.webhook_url, secret, ["*"], api_version=settings.api_version)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await sandbox.deliveries.start()
        ticking = asyncio.create_task(_tick(sandbox))
        yield
        ticking.cancel()
        with suppress(asyncio.CancelledError):
            await ticking
        await sandbox.deliveries.stop()

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    routes = [
        Route("/healthz", healthz),
        *api.routes(sandbox),
        *operator_api.routes(sandbox),
        *pages.routes(sandbox),
    ]
    app = Starlette(routes=routes, lifespan=lifespan)
    app.state.sandbox = sandbox
    return app


async def _tick(sandbox: Sandbox) -> None:
    """Processes what falls due in real time: sessions expire and periods end without a clock advance."""
    while True:
        await asyncio.sleep(_TICK_SECONDS)
        timeline.catch_up(sandbox)
        sandbox.deliver()
