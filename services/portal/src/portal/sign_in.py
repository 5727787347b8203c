"""Signing in at the identity provider: authorization code with PKCE (RFC 6749, 7636, OpenID Connect Core)."""

from __future__ import annotations

import base64
import json
import time
import warnings
from typing import Any

import httpx
import structlog
from authlib.deprecate import AuthlibDeprecationWarning
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse
from joserfc.errors import JoseError
from starlette.responses import Response

from kit.http.auth import ROLES
from portal.forms import PostedForm, return_path
from portal.renderer import render
from portal.sessions import Session, SessionCookie, SignedIn, TooLarge
from portal.settings import ApiSettings

warnings.simplefilter("ignore", AuthlibDeprecationWarning)  # it asks for the successor of httpx, which nobody has yet
from authlib.common.errors import AuthlibBaseError  # noqa: E402
from authlib.integrations.starlette_client import OAuth, StarletteOAuth2App  # noqa: E402

log = structlog.get_logger(__name__)

router = APIRouter(include_in_schema=False)

RETURN = "/signed-in"
"""The redirect URI's path, to be registered at the identity provider."""
ALGORITHMS = ("RS256", "ES256")
"""Of ID tokens: those that the services accept of access tokens."""
_HOMES = {"admin": "/admin", "case_manager": "/caseload"}
_TIMEOUT_SECONDS = 5.0


class Refused(Exception):
    """The identity provider's answer does not sign anybody in. The text is for the log."""


class IdentityProvider:
    """`transport`: for tests."""

    def __init__(self, settings: ApiSettings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._settings = settings
        client: dict[str, Any] = {  # Any: what httpx's client takes
            "scope": "openid profile email",
            "code_challenge_method": "S256",
            "timeout": _TIMEOUT_SECONDS,
        }
        if transport is not None:
            client["transport"] = transport
        oauth = OAuth()
        oauth.register(
            "provider",
            client_id=settings.oidc_client_id,
            client_secret=settings.oidc_client_secret.get_secret_value(),
            server_metadata_url=settings.metadata_url,
            client_kwargs=client,
        )
        self._client: StarletteOAuth2App = oauth.create_client("provider")
        self._return_url = settings.portal_url + RETURN

    async def start(self, request: Request) -> Response:
        """Redirects to the provider. Raises httpx.HTTPError if it does not answer, and Refused."""
        await self._load()
        extra = {"audience": self._settings.oidc_audience} if self._settings.oidc_audience else {}
        response: Response = await self._client.authorize_redirect(request, self._return_url, **extra)
        return response

    async def finish(self, request: Request) -> SignedIn:
        """Raises Refused, httpx.HTTPError."""
        await self._load()
        if request.query_params.get("iss", self._settings.oidc_issuer) != self._settings.oidc_issuer:
            raise Refused("the answer is of another issuer (RFC 9207)")
        options = {"iss": {"essential": True, "values": [self._settings.oidc_issuer]}}
        try:
            token = await self._client.authorize_access_token(request, claims_options=options, leeway=60)
        except (AuthlibBaseError, JoseError, ValueError, KeyError, RuntimeError, TypeError) as error:
            raise Refused(f"{type(error).__name__}: {getattr(error, 'error', '')}") from error
        if not token.get("userinfo"):
            raise Refused("no ID token")
        return signed_in(token, now=time.time())

    async def _load(self) -> None:
        """Authlib reads the configuration once. Issuer and algorithms are ours to decide."""
        metadata = await self._client.load_server_metadata()
        if metadata.get("issuer") != self._settings.oidc_issuer:
            raise Refused("the configuration at OIDC_METADATA_URL is of another issuer")
        metadata["id_token_signing_alg_values_supported"] = list(ALGORITHMS)


def signed_in(token: dict[str, Any], *, now: float) -> SignedIn:
    """Raises Refused. The access token is verified by the services; here it is read for its role and its end."""
    user = token["userinfo"]
    try:
        _, payload, _ = token["access_token"].split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        role, subject, expires_at = claims["role"], claims["sub"], int(claims["exp"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Refused("the access token is no JWT with sub, role and exp") from None
    if subject != user["sub"]:
        raise Refused("the access token is of somebody else")
    if role not in ROLES:
        raise Refused("a role that nobody has here")
    if expires_at <= now:
        raise Refused("the access token has expired")
    name = str(user.get("name") or user.get("email") or "")[:100]
    return SignedIn(token=token["access_token"], subject=subject, role=role, name=name, expires_at=expires_at)


@router.get("/sign-in")
async def start(request: Request, return_to: str = "") -> Response:
    session: Session = request.state.session
    provider: IdentityProvider = request.app.state.identity_provider
    pending: dict[str, Any] = {}
    request.scope["session"] = pending  # where authlib keeps state, nonce and code verifier
    try:
        response = await provider.start(request)
    except (httpx.HTTPError, Refused) as error:
        log.warning("sign-in not possible", error=str(error) if isinstance(error, Refused) else type(error).__name__)
        return render(request, "problem.html", 503, title="Signing in is not possible now", detail="Try again later.")
    session.pending = {"state": pending, "return_to": return_path(return_to)}
    session.changed = True
    return response


@router.get(RETURN)
async def finish(request: Request) -> Response:
    session: Session = request.state.session
    provider: IdentityProvider = request.app.state.identity_provider
    started, session.pending = session.pending, {}
    session.changed = True
    request.scope["session"] = started.get("state", {})
    try:
        user = await provider.finish(request)
    except (httpx.HTTPError, Refused) as error:
        log.warning("sign-in refused", error=str(error) if isinstance(error, Refused) else type(error).__name__)
        detail = "The sign-in was not completed. Nothing was changed."
        return render(request, "problem.html", 400, title="Not signed in", detail=detail, again="/sign-in")
    session.sign_in(user)
    cookie: SessionCookie = request.app.state.session_cookie
    try:
        cookie.write(session)
    except TooLarge:
        log.error("the access token does not fit into a cookie")
        session.sign_out()
        return render(request, "problem.html", 500, title="Not signed in", detail="The sign-in cannot be kept.")
    target = return_path(str(started.get("return_to", "")))
    return RedirectResponse(_HOMES.get(user.role, "/dashboard") if target == "/" else target, 303)


@router.post("/sign-out")
async def sign_out(request: Request, _: PostedForm) -> Response:
    """Of the portal. The identity provider's own session is its own."""
    session: Session = request.state.session
    session.sign_out()
    return RedirectResponse("/", 303)
