"""The application: the provider's API with injected faults, the operator API and the pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from milady_sandbox import api, operator_pages
from milady_sandbox.faults import Faults, apply_fault
from milady_sandbox.settings import Settings
from milady_sandbox.store import Store


def create_app(settings: Settings) -> FastAPI:
    app = FastAPI(title="milady-sandbox", version="1", redoc_url=None)
    app.state.settings = settings
    app.state.store = store = Store()
    app.state.faults = faults = Faults()
    app.include_router(api.router)
    app.include_router(operator_pages.router)

    @app.exception_handler(api.ApiError)
    async def handle_api_error(_: Request, error: api.ApiError) -> JSONResponse:
        return error.response()

    @app.middleware("http")
    async def inject_faults(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        if not request.url.path.startswith("/v1/"):
            return await call_next(request)
        fault = faults.take(request.method)
        record: dict[str, Any] = {
            "method": request.method,
            "path": request.url.path,
            "idempotency_key": request.headers.get("idempotency-key"),
            "fault": fault.kind if fault else None,
            "status": None,
        }
        store.requests.append(record)

        async def handle() -> Response:
            return await call_next(request)

        response = await (apply_fault(fault, faults, request, handle) if fault else handle())
        record["status"] = response.status_code
        return response

    return app
