"""The browser's session: an encrypted cookie, so that every replica reads it and nothing is stored here."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from http.cookies import SimpleCookie

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE_LIMIT = 4096
"""Bytes of name and value that browsers keep (RFC 6265, section 6.1)."""
PENDING_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class SignedIn:
    """Who has signed in. `role` and `name` only decide what is displayed: the services verify the token."""

    token: str
    subject: str
    role: str
    name: str
    expires_at: int


@dataclass
class Session:
    """`csrf`: in every form of this session. `pending`: the sign-in that has been started."""

    csrf: str = ""
    user: SignedIn | None = None
    pending: dict[str, object] = field(default_factory=dict)
    changed: bool = False

    @property
    def form_token(self) -> str:
        if not self.csrf:
            self.csrf, self.changed = secrets.token_urlsafe(24), True
        return self.csrf

    def sign_in(self, user: SignedIn) -> None:
        """A new session: what was set before signing in is not kept."""
        self.csrf, self.user, self.pending, self.changed = secrets.token_urlsafe(24), user, {}, True

    def sign_out(self) -> None:
        self.csrf, self.user, self.pending, self.changed = "", None, {}, True


class TooLarge(Exception):
    """The token does not fit into a cookie."""


class SessionCookie:
    """Fernet (AES-128-CBC and HMAC-SHA256) with a key derived from each secret; the first one encrypts."""

    def __init__(self, session_secrets: Iterable[str], *, seconds: int, secure: bool) -> None:
        self._fernet = MultiFernet([Fernet(_key(secret)) for secret in session_secrets])
        self._seconds = seconds
        self._secure = secure
        self.name = "__Host-bursar" if secure else "bursar"

    def read(self, value: str | None) -> Session:
        """A new session if there is none, or it was not written here, or it has ended."""
        if not value:
            return Session()
        try:
            stored = json.loads(self._fernet.decrypt(value.encode(), ttl=self._seconds))
            user = SignedIn(**stored["user"]) if stored["user"] else None
        except (InvalidToken, ValueError, KeyError, TypeError):
            return Session()
        if user is not None and user.expires_at <= time.time():
            return Session()
        return Session(csrf=stored["csrf"], user=user, pending=stored["pending"])

    def write(self, session: Session) -> str:
        """The value of the Set-Cookie header. Raises TooLarge."""
        attributes = f"Path=/; HttpOnly; SameSite=Lax{'; Secure' if self._secure else ''}"
        if not session.csrf and session.user is None and not session.pending:
            return f"{self.name}=; Max-Age=0; {attributes}"
        user = asdict(session.user) if session.user else None
        content = json.dumps({"csrf": session.csrf, "user": user, "pending": session.pending}, separators=(",", ":"))
        value = self._fernet.encrypt(content.encode()).decode()
        if len(self.name) + len(value) > COOKIE_LIMIT:
            raise TooLarge
        return f"{self.name}={value}; {attributes}"


def _key(secret: str) -> bytes:
    return base64.urlsafe_b64encode(hashlib.sha256(b"bursar session\0" + secret.encode()).digest())


class SessionMiddleware:
    """Puts the session into `request.state.session`, and sets the cookie if it has changed."""

    def __init__(self, app: ASGIApp, *, cookie: SessionCookie) -> None:
        self._app = app
        self._cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        session = self._cookie.read(_cookies(HTTPConnection(scope)).get(self._cookie.name))
        scope.setdefault("state", {})["session"] = session

        async def with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start" and session.changed:
                MutableHeaders(scope=message).append("set-cookie", self._cookie.write(session))
            await send(message)

        await self._app(scope, receive, with_cookie)


def _cookies(connection: HTTPConnection) -> dict[str, str]:
    parsed: SimpleCookie = SimpleCookie()
    try:
        parsed.load(connection.headers.get("cookie", ""))
    except Exception:  # CookieError and what else a hostile header causes
        return {}
    return {name: morsel.value for name, morsel in parsed.items()}
