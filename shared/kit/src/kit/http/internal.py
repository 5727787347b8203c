"""What a process serves at its internal port: health with reasons, metrics, and the documents of its API.

The page /docs loads nothing from elsewhere, and runs no script but its own files. It shows the API and sends no
requests: the API is at the other port, and its tokens do not belong in this page.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.responses import HTMLResponse, Response

from kit.http.app import RequestGuard
from kit.http.errors import handle_errors
from kit.http.health import internal_health

_FILES = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
}
"""Of Swagger UI, from the package fastapi-swagger."""
_START = """SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#api", deepLinking: true, supportedSubmitMethods: [], validatorUrl: null,
});
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_PAGE_POLICY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}


def create_internal_app(app: FastAPI, *, has_api: bool) -> FastAPI:
    """Beside `app`, which `kit.http.app.create_app` has built. `has_api`: it has routes of its own to document."""
    internal = FastAPI(title=f"{app.title}, internal", openapi_url=None, redirect_slashes=False)
    internal.include_router(internal_health(app.state.checks, app.state.reported))
    if has_api:
        internal.include_router(_documents(app))
    handle_errors(internal)
    internal.add_middleware(RequestGuard)
    return internal


def _documents(app: FastAPI) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/openapi.json")
    async def openapi() -> dict[str, Any]:  # Any: JSON
        return app.openapi()

    if app.state.asyncapi is not None:

        @router.get("/asyncapi.json")
        async def asyncapi() -> Mapping[str, object]:
            document: Mapping[str, object] = app.state.asyncapi()
            return document

    @router.get("/docs")
    async def page() -> HTMLResponse:
        return HTMLResponse(_PAGE.format(title=escape(app.title)), headers=_PAGE_POLICY)

    @router.get("/docs/start.js")
    async def start() -> Response:
        return Response(_START, media_type="text/javascript")

    for name, media_type in _FILES.items():
        router.add_api_route(f"/docs/{name}", _file(name, media_type))
    return router


def _file(name: str, media_type: str) -> Any:  # Any: a route's function
    def read() -> Response:
        content = files("fastapi_swagger.resources").joinpath(name).read_bytes()
        return Response(content, media_type=media_type)

    return read
