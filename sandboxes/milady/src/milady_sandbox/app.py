"""The sandbox as one app: the API with its faults, and the pages for operators and tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from milady_sandbox import api, operator_pages
from milady_sandbox.faults import Faults, go_wrong
from milady_sandbox.settings import Settings
from milady_sandbox.store import Store


def create_app(settings: Settings) -> FastAPI:
    app = FastAPI(title="milady-sandbox", version="1", redoc_url=None)
    app.state.settings = settings
    app.state.store = store = Store()
    app.state.faults = faults = Faults()
    app.include_router(api.router)
    app.include_router(operator_pages.router)

    @app.exception_handler(api.Refused)
    async def refused(_: Request, error: api.Refused) -> JSONResponse:
        return error.response()

    @app.middleware("http")
    async def faulty(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        if not request.url.path.startswith("/v1/"):
            return await call_next(request)
        fault = faults.take(request.method)
        seen: dict[str, Any] = {
            "method": request.method,
            "path": request.url.path,
            "idempotency_key": request.headers.get("idempotency-key"),
            "fault": fault.kind if fault else None,
            "status": None,
        }
        store.requests.append(seen)

        async def act() -> Response:
            return await call_next(request)

        response = await (go_wrong(fault, request, act) if fault else act())
        seen["status"] = response.status_code
        return response

    return app
