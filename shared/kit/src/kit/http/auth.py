"""Bearer JWTs: algorithm allow-list, signature, issuer, audience, expiry, age, subject and role, all checked."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

import jwt
from fastapi import Depends, Request, Security
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from kit.db.database import MACHINE
from kit.http.audit import clear_origin, note_origin
from kit.http.problems import FORBIDDEN, INSUFFICIENT_SCOPE, KEYS_UNAVAILABLE, PERSON_REQUIRED, UNAUTHORIZED, Problem
from kit.http.token_keys import KeySet, SharedSecrets, TokenKeys, UnknownKey
from kit.runtime.failures import Unavailable
from kit.runtime.settings import AuthSettings

ROLES = ("student", "case_manager", "specialist", "admin")
"""Those of people."""
GUEST = "guest"
"""A caller without a token."""
_LEEWAY_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who is authenticated. `id`: the UUID of the student or staff member, or of another system's client.

    `scopes`: what another system may do (role `machine`).
    """

    id: UUID
    role: str
    email: str | None = None
    name: str | None = None
    scopes: frozenset[str] = frozenset()

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"


class Authenticator:
    def __init__(self, settings: AuthSettings, keys: TokenKeys | None = None) -> None:
        """`keys`: other than the settings name."""
        self._settings = settings
        self._keys = keys or _keys_of(settings)

    async def verify(self, token: str) -> Caller:
        """Raises a 401 Problem if the token is invalid, and a 503 Problem if the keys cannot be fetched."""
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            key = await self._keys.find(kid if isinstance(kid, str) else None)
            claims = jwt.decode(
                token,
                key.verifier,
                algorithms=[key.algorithm],
                issuer=self._settings.jwt_issuer,
                audience=self._settings.jwt_audience,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iat", "iss", "aud", "sub", "role"]},
            )
            if time.time() - int(claims["iat"]) > self._settings.jwt_max_age_seconds + _LEEWAY_SECONDS:
                raise jwt.ExpiredSignatureError("issued too long ago")
            return _caller(claims)
        except Unavailable:
            raise KEYS_UNAVAILABLE() from None
        except (UnknownKey, jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise _unauthorized("The token is invalid or has expired; sign in again.") from None

    async def check(self) -> None:
        """Fetches the keys again. Raises Unavailable if that fails."""
        await self._keys.refresh()

    async def close(self) -> None:
        await self._keys.close()


def _keys_of(settings: AuthSettings) -> TokenKeys:
    if settings.jwt_jwks_url:
        return KeySet(settings.jwt_jwks_url, max_age=settings.jwt_jwks_max_age_seconds)
    default = settings.jwt_secret.get_secret_value() if settings.jwt_secret else None
    return SharedSecrets(default, settings.secrets_by_kid)


def _caller(claims: dict[str, Any]) -> Caller:
    role = claims["role"]
    if role == MACHINE:
        return Caller(id=UUID(claims["sub"]), role=role, scopes=_scopes(claims.get("scope", "")))
    if role not in ROLES:
        raise ValueError("unknown role")
    return Caller(id=UUID(claims["sub"]), role=role, email=_text(claims.get("email")), name=_text(claims.get("name")))


def _scopes(value: object) -> frozenset[str]:
    """Of the claim, in which spaces separate them (RFC 8693, section 4.2)."""
    if not isinstance(value, str):
        raise ValueError("scope is not text")
    return frozenset(value.split())


def _text(value: object) -> str | None:
    """The claim if it can be stored (no NUL, no lone surrogates), else None."""
    if not isinstance(value, str) or not 0 < len(value) <= 320 or "\x00" in value:
        return None
    return value if value.isascii() or value.encode("utf-8", "ignore").decode() == value else None


def _unauthorized(detail: str) -> Problem:
    return UNAUTHORIZED(detail, headers={"WWW-Authenticate": "Bearer"})


_scheme = HTTPBearer(
    auto_error=False, bearerFormat="JWT", description="`sub`: the caller's UUID; `role`; `scope`, if it is a machine."
)


async def optional_caller(
    request: Request, documented: Annotated[HTTPAuthorizationCredentials | None, Security(_scheme)]
) -> Caller | None:
    """The caller, or None without a token. An invalid token is still a 401. Another system passes only where the route
    names a scope that its token has: 403 `insufficient_scope` without it, and `person_required` on other routes."""
    caller = await caller_of(request)
    if caller is not None and caller.role == MACHINE:
        route = request.scope.get("route")
        admit_machine(caller, scopes_of(route.dependant) if isinstance(route, APIRoute) else frozenset())
    return caller


def admit_machine(caller: Caller, scopes: frozenset[str]) -> None:
    """`scopes`: of the route; any of them admits. Raises Problem 403."""
    if not scopes:
        raise PERSON_REQUIRED()
    if scopes.isdisjoint(caller.scopes):
        wanted = " ".join(sorted(scopes))
        challenge = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{wanted}"'}
        raise INSUFFICIENT_SCOPE(f"This requires the scope {wanted}.", headers=challenge)


async def caller_of(request: Request) -> Caller | None:
    """The same, for what does not belong into the documents. A token is verified once per request."""
    if not hasattr(request.state, "caller"):
        request.state.caller = await _verified(request)
    caller: Caller | None = request.state.caller
    return caller


async def _verified(request: Request) -> Caller | None:
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


class RoleCheck:
    """A dependency that returns the caller if their role is one of `roles`, and raises a 403 Problem otherwise.

    `scope`: admits other systems that have it, to read.
    """

    def __init__(self, roles: tuple[str, ...], scope: str | None = None) -> None:
        self.roles = roles
        self.scope = scope

    async def __call__(self, caller: Annotated[Caller, Depends(current_caller)]) -> Caller:
        if caller.role not in self.roles and caller.role != MACHINE:  # whose scope has been checked
            raise FORBIDDEN(f"This requires the role {' or '.join(self.roles)}.")
        return caller


def requires(*roles: str, scope: str | None = None) -> RoleCheck:
    return RoleCheck(roles, scope)


def scopes_of(dependant: Dependant) -> frozenset[str]:
    """The scopes of which one admits another system to a route; none: people only."""
    found: set[str] = set()
    for each in dependant.dependencies:
        if isinstance(each.call, RoleCheck) and each.call.scope is not None:
            found.add(each.call.scope)
        found |= scopes_of(each)
    return frozenset(found)


def roles_of(dependant: Dependant) -> frozenset[str]:
    """The roles that a route lets in, GUEST included if it needs no token."""
    allowed = frozenset({GUEST, *ROLES})
    for each in dependant.dependencies:
        if isinstance(each.call, RoleCheck):
            allowed &= frozenset(each.call.roles)
        elif each.call is current_caller:
            allowed -= {GUEST}
        allowed &= roles_of(each)
    return allowed


MaybeCaller = Annotated[Caller | None, Depends(optional_caller)]
CurrentCaller = Annotated[Caller, Depends(current_caller)]
OnlyStudent = Annotated[Caller, Depends(requires("student"))]
Admin = Annotated[Caller, Depends(requires("admin"))]
CaseManager = Annotated[Caller, Depends(requires("case_manager", "admin"))]
