"""The authorization code flow (RFC 6749, section 4.1) with PKCE (RFC 7636): what is asked for, and what is refused."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from identity_sandbox.people import Person
from identity_sandbox.settings import Settings
from identity_sandbox.tokens import encoded

CODE_SECONDS = 60.0
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


class NotRegistered(Exception):
    """The client or its redirect URI: the browser must not be sent there."""


class Refused(Exception):
    """An error for the client. `code`: of RFC 6749."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(code)
        self.code, self.description = code, description


@dataclass(frozen=True, kw_only=True)
class AuthorizationRequest:
    redirect_uri: str
    state: str | None
    nonce: str | None
    challenge: str

    def answer(self, issuer: str, **members: str) -> str:
        """The URL to redirect to, with `iss` (RFC 9207)."""
        return back(self.redirect_uri, self.state, issuer, **members)


def back(redirect_uri: str, state: str | None, issuer: str, **members: str) -> str:
    sent = {**members, **({"state": state} if state else {}), "iss": issuer}
    return f"{redirect_uri}{'&' if urlsplit(redirect_uri).query else '?'}{urlencode(sent)}"


def read_redirect_uri(parameters: Mapping[str, str], settings: Settings) -> str:
    """Raises NotRegistered."""
    if parameters.get("client_id") != settings.client_id:
        raise NotRegistered("There is no such client.")
    uri = parameters.get("redirect_uri", "")
    if uri not in settings.redirect_uris:
        raise NotRegistered("This redirect URI is not registered for the client.")
    return uri


def read_request(parameters: Mapping[str, str], redirect_uri: str) -> AuthorizationRequest:
    """Raises Refused."""
    if parameters.get("response_type") != "code":
        raise Refused("unsupported_response_type", "only response_type=code is supported")
    if "openid" not in parameters.get("scope", "").split():
        raise Refused("invalid_scope", "the scope has no openid")
    challenge = parameters.get("code_challenge", "")
    if parameters.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
        raise Refused("invalid_request", "PKCE with the method S256 is required")
    return AuthorizationRequest(
        redirect_uri=redirect_uri,
        state=parameters.get("state"),
        nonce=parameters.get("nonce"),
        challenge=challenge,
    )


@dataclass(frozen=True, kw_only=True)
class Grant:
    person: Person
    request: AuthorizationRequest
    expires_at: float


@dataclass
class Codes:
    """Codes that were handed out and not used yet."""

    _grants: dict[str, Grant] = field(default_factory=dict)

    def issue(self, person: Person, request: AuthorizationRequest) -> str:
        code = secrets.token_urlsafe(32)
        self._grants[code] = Grant(person=person, request=request, expires_at=time.monotonic() + CODE_SECONDS)
        return code

    def redeem(self, parameters: Mapping[str, str]) -> Grant:
        """Once. Raises Refused."""
        grant = self._grants.pop(parameters.get("code", ""), None)
        if grant is None or grant.expires_at < time.monotonic():
            raise Refused("invalid_grant", "the code is unknown, was used or has expired")
        if parameters.get("redirect_uri") != grant.request.redirect_uri:
            raise Refused("invalid_grant", "the code was issued for another redirect URI")
        verifier = parameters.get("code_verifier", "")
        hashed = encoded(hashlib.sha256(verifier.encode()).digest())
        if not _VERIFIER.fullmatch(verifier) or not secrets.compare_digest(hashed, grant.request.challenge):
            raise Refused("invalid_grant", "code_verifier does not match code_challenge")
        return grant
