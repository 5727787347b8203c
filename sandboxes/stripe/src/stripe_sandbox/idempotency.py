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
class KeyEntry:
    """A request under its key; without a response while it is in progress."""

    fingerprint: str
    at: float
    executed: SavedResponse | None = None
    """The response from the moment at which the request has had its effect."""
    response: SavedResponse | None = None
    """The response once it is sent."""


class IdempotencyKeys:
    """Keys of POST requests, kept for 24 real hours. Like Stripe, does not save validation errors."""

    def __init__(self) -> None:
        self._entries: dict[str, KeyEntry] = {}
        self._changed: set[str] = set()

    def begin(self, key: str, method: str, path: str, body: str) -> SavedResponse | None:
        """Claims a key or returns its saved response. Raises 400 for a different request, 409 for a concurrent one."""
        if len(key) > 255:
            raise KEY_TOO_LONG.error()
        self._drop_expired()
        fingerprint = hashlib.sha256(f"{method} {path} {body}".encode()).hexdigest()
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = KeyEntry(fingerprint, time.time())
            return None
        if entry.fingerprint != fingerprint:
            raise KEY_REUSED.error(key=key)
        if entry.response is None:
            raise KEY_IN_USE.error(key=key)
        return entry.response

    def execute(self, key: str, response: SavedResponse) -> None:
        """The request has had its effect; its response may take a while."""
        self._entries[key].executed = response
        self._changed.add(key)

    def finish(self, key: str, response: SavedResponse) -> None:
        self._entries[key].response = response

    def take_changed(self) -> list[tuple[str, KeyEntry | None]]:
        """(key, entry or None if it has expired) of what has changed since the last call."""
        changed, self._changed = self._changed, set()
        return [(key, self._entries.get(key)) for key in changed]

    def restore(self, entries: dict[str, KeyEntry]) -> None:
        """The keys of an earlier process. Whatever it had executed is finished."""
        self._entries = dict(sorted(entries.items(), key=lambda item: item[1].at))
        for entry in self._entries.values():
            entry.response = entry.executed

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
            self._changed.add(oldest)
