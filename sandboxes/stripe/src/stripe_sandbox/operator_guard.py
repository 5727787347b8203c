"""The operator API and page ask for a token: who has it can pay, refund, and sign events with the webhook's secret."""

from __future__ import annotations

from hmac import compare_digest
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

COOKIE = "sandbox_token"
_PATH = "/sandbox"


class OperatorGuard:
    """Lets requests to /sandbox through with `Authorization: Bearer <token>`, or with the cookie that
    `/sandbox?token=<token>` sets. The pages on which customers pay need no token, as at Stripe."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (scope["path"] == _PATH or scope["path"].startswith(f"{_PATH}/")):
            refused = self._refused(Request(scope))
            if refused is not None:
                await refused(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refused(self, request: Request) -> Response | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_valid(token):
            return None
        if self._is_valid(request.cookies.get(COOKIE, "")):
            return None
        (given,) = parse_qs(request.url.query).get("token", [""])[:1]
        if request.method == "GET" and self._is_valid(given):
            response = RedirectResponse(_PATH, 303)
            response.set_cookie(COOKIE, self._token, path=_PATH, httponly=True, samesite="strict")
            return response
        detail = f"Send the operator's token: `Authorization: Bearer <token>`, or open {_PATH}?token=<token>.\n"
        return PlainTextResponse(detail, 401, headers={"WWW-Authenticate": "Bearer"})

    def _is_valid(self, token: str) -> bool:
        return compare_digest(token.strip().encode(), self._token.encode())
