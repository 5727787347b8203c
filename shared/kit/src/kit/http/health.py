"""/healthz (the process is alive) and /readyz (its dependencies are available), at both ports of a process: load
balancers ask the public one, orchestrators and operators the internal one, which also says why, and has /metrics."""

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


def public_health(checks: Mapping[str, Check]) -> APIRouter:
    """Without reasons, which name servers and versions."""
    router = APIRouter(include_in_schema=False)
    router.add_api_route("/healthz", _alive)

    @router.get("/readyz")
    async def ready() -> JSONResponse:
        status, code = _status(await _outcomes(checks))
        return JSONResponse({"status": status}, code)

    return router


def internal_health(checks: Mapping[str, Check], reported: Mapping[str, object]) -> APIRouter:
    """`reported`: what /readyz says beside the checks."""
    router = APIRouter(include_in_schema=False)
    router.add_api_route("/healthz", _alive)

    @router.get("/readyz")
    async def ready() -> JSONResponse:
        found = await _outcomes(checks)
        status, code = _status(found)
        return JSONResponse({"status": status, "checks": found, **reported}, code)

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router


async def _alive() -> dict[str, str]:
    return {"status": "alive"}


def _status(outcomes: Mapping[str, str]) -> tuple[str, int]:
    return ("ready", 200) if all(outcome == "ok" for outcome in outcomes.values()) else ("not ready", 503)


async def _outcomes(checks: Mapping[str, Check]) -> dict[str, str]:
    return dict(zip(checks, await asyncio.gather(*(_outcome(check) for check in checks.values())), strict=True))


async def _outcome(check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except Exception as error:
        return describe(error)
    return "ok"
