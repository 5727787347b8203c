"""The application: discovery, the sign-in page, tokens and keys."""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlsplit

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from jinja2 import Environment, PackageLoader
from pydantic import BaseModel
from starlette.responses import Response

from identity_sandbox.authorization import (
    AuthorizationRequest,
    Codes,
    NotRegistered,
    Refused,
    back,
    read_redirect_uri,
    read_request,
)
from identity_sandbox.people import ROLES, STAFF, STUDENT, Person
from identity_sandbox.settings import Settings
from identity_sandbox.tokens import TokenIssuer

_pages = Environment(loader=PackageLoader("identity_sandbox"), autoescape=True)
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class TokenRequest(BaseModel):
    role: str
    name: str = ""
    email: str = ""
    sub: str = ""


def create_app(settings: Settings) -> FastAPI:
    app = FastAPI(title="identity-sandbox", version="1", redoc_url=None)
    app.state.settings = settings
    app.state.issuer = issuer = TokenIssuer(settings)
    app.state.codes = codes = Codes()

    @app.get("/healthz")
    async def alive() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/.well-known/openid-configuration")
    async def discovery() -> dict[str, Any]:
        return {
            "issuer": settings.issuer,
            "authorization_endpoint": f"{settings.issuer}/authorize",
            "end_session_endpoint": f"{settings.issuer}/end-session",
            "token_endpoint": f"{settings.internal}/token",
            "jwks_uri": f"{settings.internal}/jwks.json",
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": ["openid", "profile", "email"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }

    @app.get("/jwks.json")
    async def keys() -> dict[str, Any]:
        return issuer.keys

    @app.get("/authorize")
    async def sign_in_page(request: Request) -> Response:
        read = _authorization(dict(request.query_params), settings)
        if isinstance(read, Response):
            return read
        return _page("sign_in.html", parameters=dict(request.query_params), student=STUDENT, staff=STAFF)

    @app.post("/authorize")
    async def sign_in(request: Request) -> Response:
        form = await _form(request)
        read = _authorization(form, settings)
        if isinstance(read, Response):
            return read
        if form.get("as") == "nobody":
            return RedirectResponse(read.answer(settings.issuer, error="access_denied"), 303)
        person = STAFF.get(form.get("as", ""))
        if person is None:
            email = form.get("email", "").strip() or STUDENT.email
            person = Person("student", form.get("name", "").strip() or STUDENT.name, email)
        return RedirectResponse(read.answer(settings.issuer, code=codes.issue(person, read)), 303)

    @app.post("/token")
    async def token(request: Request) -> JSONResponse:
        form = await _form(request)
        try:
            _check_client(request, form, settings)
            if form.get("grant_type") != "authorization_code":
                raise Refused("unsupported_grant_type", "only authorization_code is supported")
            grant = codes.redeem(form)
        except Refused as refused:
            status = 401 if refused.code == "invalid_client" else 400
            body = {"error": refused.code, "error_description": refused.description}
            return JSONResponse(body, status, headers={"Cache-Control": "no-store"})
        access_token = issuer.access_token(grant.person)
        answer: dict[str, str | int] = {
            "access_token": access_token,
            "id_token": issuer.id_token(grant.person, nonce=grant.request.nonce, access_token=access_token),
            "token_type": "Bearer",
            "expires_in": settings.token_seconds,
        }
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    @app.get("/end-session")
    async def end_session(post_logout_redirect_uri: str = "", state: str = "") -> Response:
        """There is no session here: every sign-in asks again."""
        allowed = {f"{urlsplit(uri).scheme}://{urlsplit(uri).netloc}/" for uri in settings.redirect_uris}
        if post_logout_redirect_uri in allowed:
            return RedirectResponse(post_logout_redirect_uri, 303)
        return _page("message.html", title="Signed out", message="You can close this page.")

    @app.post("/sandbox/api/tokens")
    async def make_token(wanted: TokenRequest) -> dict[str, str]:
        if wanted.role not in ROLES:
            raise HTTPException(422, f"role is one of {', '.join(ROLES)}")
        default = STAFF.get(wanted.role, STUDENT)
        person = Person(wanted.role, wanted.name or default.name, wanted.email or default.email, wanted.sub)
        return {"access_token": issuer.access_token(person), "sub": person.subject}

    return app


def _authorization(parameters: dict[str, str], settings: Settings) -> AuthorizationRequest | Response:
    """The request, or the response that refuses it."""
    try:
        uri = read_redirect_uri(parameters, settings)
    except NotRegistered as problem:
        return _page("message.html", 400, title="Refused", message=str(problem))
    try:
        return read_request(parameters, uri)
    except Refused as refused:
        answer = back(
            uri,
            parameters.get("state"),
            settings.issuer,
            error=refused.code,
            error_description=refused.description,
        )
        return RedirectResponse(answer, 303)


def _check_client(request: Request, form: dict[str, str], settings: Settings) -> None:
    """client_secret_basic or client_secret_post (RFC 6749, section 2.3.1). Raises Refused."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            name, _, secret = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            name = secret = ""
        name, secret = unquote_plus(name), unquote_plus(secret)
    else:
        name, secret = form.get("client_id", ""), form.get("client_secret", "")
    right = settings.client_secret.get_secret_value().encode()
    if name != settings.client_id or not secrets.compare_digest(secret.encode(), right):
        raise Refused("invalid_client", "unknown client or wrong secret")


async def _form(request: Request) -> dict[str, str]:
    return dict(parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True))


def _page(name: str, status: int = 200, **values: object) -> HTMLResponse:
    return HTMLResponse(_pages.get_template(name).render(**values), status, headers=_HEADERS)
