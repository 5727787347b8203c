"""Idempotency keys: a repeated request gets the saved response."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from stripe_sandbox.rules.requests import KEY_IN_USE, KEY_REUSED, KEY_TOO_LONG

_LIFETIME_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class SavedResponse:
    """A response to replay."""

    status: int
    body: bytes
    request_id: str


@dataclass
class _Entry:
    fingerprint: str
    at: float
    response: SavedResponse | None = None


class IdempotencyKeys:
    """Keys of POST requests, kept for 24 real hours. Like Stripe, does not save validation errors."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def begin(self, key: str, method: str, path: str, body: str) -> SavedResponse | None:
        """Claims a key or returns its saved response. Raises 400 for a different request, 409 for a concurrent one."""
        if len(key) > 255:
            raise KEY_TOO_LONG.error()
        self._drop_expired()
        fingerprint = hashlib.sha256(f"{method} {path} {body}".encode()).hexdigest()
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = _Entry(fingerprint, time.time())
            return None
        if entry.fingerprint != fingerprint:
            raise KEY_REUSED.error(key=key)
        if entry.response is None:
            raise KEY_IN_USE.error(key=key)
        return entry.response

    def finish(self, key: str, response: SavedResponse) -> None:
        self._entries[key].response = response

    def abandon(self, key: str) -> None:
        """Releases the key of a request that was not executed."""
        self._entries.pop(key, None)

    def _drop_expired(self) -> None:
        limit = time.time() - _LIFETIME_SECONDS
        while self._entries:
            oldest = next(iter(self._entries))
            if self._entries[oldest].at > limit:
                return
            del self._entries[oldest]
