"""/api/...: passed on to the service that has the path. The session's cookie is not: callers send a bearer token, so
no page of another site can act for a person who is signed in."""

from __future__ import annotations

from urllib.parse import quote

import httpx
from fastapi import APIRouter, Request
from starlette.responses import Response

from kit.http.problems import NOT_FOUND, UNAVAILABLE
from portal.service_client import Services
from portal.streamed_answer import StreamedAnswer
from portal.upstreams import service_of

router = APIRouter(include_in_schema=False)

_SAFE = "/:@!$&'()*+,;=~"
"""What a path may contain as it is (RFC 3986, section 3.3)."""
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_NOT_SENT = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "upgrade"),
        *("transfer-encoding", "content-length", "host", "cookie", "forwarded"),
    }
)
"""Hop-by-hop (RFC 9110, section 7.6.1), and what the portal decides itself."""
_NOT_RETURNED = _NOT_SENT | {"set-cookie"} - {"content-length"}


@router.api_route("/api/{path:path}", methods=_METHODS)
async def forward(request: Request, path: str) -> Response:
    services: Services = request.app.state.services
    try:
        service = service_of(request.method, f"/api/{path}")
    except LookupError:
        raise NOT_FOUND("Not found.") from None
    target = services.urls[service] + quote(request.scope["path"], safe=_SAFE)  # a decoded %3F would begin a query
    headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _NOT_SENT]
    headers = [pair for pair in headers if pair[0].lower() != "x-forwarded-for"]
    if request.client:
        headers.append(("X-Forwarded-For", request.client.host))
    outgoing = services.forwarded.build_request(
        request.method,
        httpx.URL(target, query=request.scope["query_string"] or None),
        headers=headers,
        content=await request.body(),
    )
    try:
        answer = await services.forwarded.send(outgoing, stream=True)
    except httpx.HTTPError:
        raise UNAVAILABLE("The service does not answer. Retry.", headers={"Retry-After": "2"}) from None
    returned = {name: value for name, value in answer.headers.items() if name.lower() not in _NOT_RETURNED}
    return StreamedAnswer(answer, headers=returned)
