"""The keys that verify bearer tokens: shared secrets, or the public keys of an identity provider."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx
import jwt
import structlog

from kit.runtime.failures import Unavailable, describe

log = structlog.get_logger(__name__)

FETCH_SECONDS = 3.0
FETCH_LIMIT = 256 * 1024
"""Bytes of a key set."""
STALE_SECONDS = 120.0
"""After so long, a key set is fetched again beside the next request. `refresh` is called once a minute anyway."""
RETRY_SECONDS = 10.0
"""Between two fetches that tokens with an unknown key cause."""


class UnknownKey(Exception):
    """No key has the token's `kid`."""


@dataclass(frozen=True)
class Key:
    verifier: Any  # a secret or what the cryptography package makes of a key; only pyjwt looks at it
    algorithm: str


class TokenKeys(Protocol):
    async def find(self, kid: str | None) -> Key:
        """Raises UnknownKey, or Unavailable if the keys cannot be fetched."""

    async def refresh(self) -> None:
        """Raises Unavailable if the keys cannot be fetched."""

    async def close(self) -> None: ...


class SharedSecrets:
    """HS256. `by_kid` while a secret is rolled: `default` verifies tokens without a `kid` that is listed."""

    def __init__(self, default: str | None, by_kid: Mapping[str, str]) -> None:
        self._default = default
        self._by_kid = by_kid

    async def find(self, kid: str | None) -> Key:
        secret = self._by_kid.get(kid or "", self._default)
        if secret is None:
            raise UnknownKey
        return Key(secret, "HS256")

    async def refresh(self) -> None:
        return

    async def close(self) -> None:
        return


class KeySet:
    """The keys at a JWKS URL (RFC 7517): RSA for RS256, P-256 for ES256.

    A token whose key is known never waits for the identity provider, and is verified while that is down, for `max_age`.
    A key that is gone from the set is refused after the next fetch, also if it was the last one.
    """

    def __init__(
        self,
        url: str,
        *,
        max_age: float,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`max_age`, `clock`: seconds."""
        self._url = url
        self._http = httpx.AsyncClient(transport=transport, timeout=FETCH_SECONDS, follow_redirects=False)
        self._max_age = max_age
        self._clock = clock
        self._keys: Mapping[str, Key] = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str | None) -> Key:
        now = self._clock()
        if self._fetched_at is not None and now - self._fetched_at >= self._max_age:
            log.error("token keys too old: JWT_JWKS_URL cannot be fetched, and all tokens are refused")
            self._keys, self._fetched_at = {}, None
        if (known := self._keys.get(kid or "")) is not None:
            if self._is_older_than(STALE_SECONDS, self._fetched_at, now) and self._may_retry(now):
                self._fetch()  # beside this request
            return known
        if self._fetching is not None or self._may_retry(now):
            await self.refresh(required=self._fetched_at is None)
        elif self._fetched_at is None:
            raise Unavailable("no token keys yet")
        if (found := self._keys.get(kid or "")) is None:
            raise UnknownKey
        return found

    async def refresh(self, *, required: bool = True) -> None:
        task = self._fetch()
        await asyncio.wait({task})
        if required and not task.cancelled() and (error := task.exception()) is not None:
            raise Unavailable(f"no token keys at JWT_JWKS_URL: {describe(error)}") from None

    async def close(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
        await self._http.aclose()

    def _may_retry(self, now: float) -> bool:
        return self._is_older_than(RETRY_SECONDS, self._tried_at, now)

    @staticmethod
    def _is_older_than(seconds: float, then: float | None, now: float) -> bool:
        return then is None or now - then >= seconds

    def _fetch(self) -> asyncio.Task[None]:
        """The fetch that is running, or a new one: there is one at a time."""
        if self._fetching is None:
            self._tried_at = self._clock()
            self._fetching = asyncio.create_task(self._fetch_keys(), name="token keys")
            self._fetching.add_done_callback(self._fetched)
        return self._fetching

    def _fetched(self, task: asyncio.Task[None]) -> None:
        self._fetching = None
        if not task.cancelled():
            task.exception()  # `refresh` raises it, `Dependencies` logs it

    async def _fetch_keys(self) -> None:
        async with asyncio.timeout(FETCH_SECONDS), self._http.stream("GET", self._url) as response:
            response.raise_for_status()
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > FETCH_LIMIT:
                    raise ValueError("the key set is too large")
        keys = read_key_set(body)
        if gone := self._keys.keys() - keys.keys():
            log.info("token keys revoked", keys=len(gone))
        self._keys, self._fetched_at = keys, self._clock()
        if not keys:
            log.error("the key set has no usable key: all tokens are refused")
            raise ValueError("the key set has no usable key")


def read_key_set(body: bytes | bytearray) -> dict[str, Key]:
    """The usable keys by `kid`. Raises ValueError unless it is a JSON object with a list of keys."""
    document = json.loads(body)
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("not a key set")
    found = {}
    for each in document["keys"]:
        if isinstance(each, dict) and isinstance(kid := each.get("kid"), str) and (key := _read_key(each)):
            found[kid] = key
    return found


def _read_key(data: Mapping[str, Any]) -> Key | None:
    """None for keys that are not for signatures, private, weak or of another algorithm."""
    match data.get("kty"), data.get("crv"), data.get("alg"):
        case "RSA", _, None | "RS256":
            algorithm = "RS256"
        case "EC", "P-256", None | "ES256":
            algorithm = "ES256"
        case _:
            return None
    if data.get("use") not in (None, "sig") or "d" in data:
        return None
    try:
        verifier = jwt.PyJWK(dict(data), algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    return None if algorithm == "RS256" and verifier.key_size < 2048 else Key(verifier, algorithm)
