"""Bearer JWTs: algorithm allow-list, signature, issuer, audience, expiry and subject, all checked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

import jwt
from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from kit.http.audit import clear_origin, note_origin
from kit.http.errors import Problem
from kit.runtime.failures import Unavailable
from kit.runtime.settings import AuthSettings

ROLES = ("student", "case_manager", "specialist", "admin")
_LEEWAY_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Caller:
    """The authenticated user. `id`: the UUID of the student or staff member."""

    id: UUID
    role: str
    email: str | None = None
    name: str | None = None

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"


class Authenticator:
    def __init__(self, settings: AuthSettings) -> None:
        self._settings = settings
        self._jwks = jwt.PyJWKClient(settings.jwt_jwks_url, cache_keys=True) if settings.jwt_jwks_url else None

    async def verify(self, token: str) -> Caller:
        """Raises a 401 Problem if the token is invalid, and a 503 Problem if the keys cannot be fetched."""
        try:
            key, algorithms = await self._key(token)
            claims = jwt.decode(
                token,
                key,
                algorithms=algorithms,
                issuer=self._settings.jwt_issuer,
                audience=self._settings.jwt_audience,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
            return _caller(claims)
        except jwt.PyJWKClientConnectionError:
            raise Problem(503, "keys_unavailable", "The token cannot be verified at the moment; retry.") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise _unauthorized("The token is invalid or has expired; sign in again.") from None

    async def check(self) -> None:
        """Raises Unavailable if tokens cannot be verified."""
        if self._jwks is not None:
            try:
                await asyncio.to_thread(self._jwks.get_signing_keys)
            except jwt.PyJWTError as error:
                raise Unavailable(f"no signing keys at JWT_JWKS_URL: {type(error).__name__}") from None

    async def _key(self, token: str) -> tuple[Any, list[str]]:
        if self._jwks is None:
            secret = self._settings.jwt_secret
            return (secret.get_secret_value() if secret else ""), ["HS256"]
        key = await asyncio.to_thread(self._jwks.get_signing_key_from_jwt, token)
        return key.key, ["RS256", "ES256"]


def _caller(claims: dict[str, Any]) -> Caller:
    role = claims.get("role", "student")
    if role not in ROLES:
        raise ValueError("unknown role")
    return Caller(id=UUID(claims["sub"]), role=role, email=_text(claims.get("email")), name=_text(claims.get("name")))


def _text(value: object) -> str | None:
    """The claim if it can be stored (no NUL, no lone surrogates), else None."""
    if not isinstance(value, str) or not 0 < len(value) <= 320 or "\x00" in value:
        return None
    return value if value.isascii() or value.encode("utf-8", "ignore").decode() == value else None


def _unauthorized(detail: str) -> Problem:
    return Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})


_scheme = HTTPBearer(auto_error=False, bearerFormat="JWT", description="`sub`: the caller's UUID; `role`.")


async def optional_caller(
    request: Request, documented: Annotated[HTTPAuthorizationCredentials | None, Security(_scheme)]
) -> Caller | None:
    """The caller, or None without a token. An invalid token is still a 401."""
    header = request.headers.get("authorization")
    if header is None:
        clear_origin()
        return None
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise _unauthorized("Send a token: `Authorization: Bearer <token>`.")
    authenticator: Authenticator = request.app.state.authenticator
    caller = await authenticator.verify(token.strip())
    note_origin(request, id=str(caller.id), role=caller.role)
    return caller


async def current_caller(caller: Annotated[Caller | None, Depends(optional_caller)]) -> Caller:
    if caller is None:
        raise _unauthorized("Send a token: `Authorization: Bearer <token>`.")
    return caller


def requires(*roles: str) -> Callable[..., Any]:
    """A dependency that returns the caller if their role is one of `roles`, and raises a 403 Problem otherwise."""

    async def check(caller: Annotated[Caller, Depends(current_caller)]) -> Caller:
        if caller.role not in roles:
            raise Problem(403, "forbidden", f"This requires the role {' or '.join(roles)}.")
        return caller

    return check


MaybeCaller = Annotated[Caller | None, Depends(optional_caller)]
CurrentCaller = Annotated[Caller, Depends(current_caller)]
Admin = Annotated[Caller, Depends(requires("admin"))]
CaseManager = Annotated[Caller, Depends(requires("case_manager", "admin"))]
