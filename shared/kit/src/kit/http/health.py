"""/healthz (the process is alive), /readyz (its dependencies are available) and /metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from kit.runtime.failures import describe

Check = Callable[[], Awaitable[None]]
"""Raises if the dependency is unavailable."""

CHECK_SECONDS = 3.0


def health_routes(checks: Mapping[str, Check], reported: Mapping[str, object]) -> APIRouter:
    """`reported`: what /readyz says beside the checks."""
    router = APIRouter(include_in_schema=False)

    @router.get("/healthz")
    async def alive() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/readyz")
    async def ready() -> JSONResponse:
        found = dict(zip(checks, await asyncio.gather(*(_outcome(check) for check in checks.values())), strict=True))
        is_ready = all(outcome == "ok" for outcome in found.values())
        status = "ready" if is_ready else "not ready"
        return JSONResponse({"status": status, "checks": found, **reported}, 200 if is_ready else 503)

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router


async def _outcome(check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except Exception as error:
        return describe(error)
    return "ok"
