"""Idempotency keys: the same key and the same request get the same answer, whatever happened since."""

import hashlib
import time
from dataclasses import dataclass

from stripe_sandbox.errors import StripeError

_KEPT_FOR = 24 * 3600.0


@dataclass(frozen=True)
class Answer:
    """An answer as it goes over the wire."""

    status: int
    body: bytes
    request_id: str


@dataclass
class _Entry:
    fingerprint: str
    at: float
    answer: Answer | None = None


class IdempotencyKeys:
    """Keys of POST requests for 24 real hours. Stripe keeps no answer for a request that failed validation."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def begin(self, key: str, method: str, path: str, body: str) -> Answer | None:
        """Claim a key; the saved answer when there is one. Raises 400 for another request, 409 while under way."""
        if len(key) > 255:
            raise StripeError("The Idempotency-Key can be at most 255 characters long.", param="Idempotency-Key")
        self._forget_old()
        fingerprint = hashlib.sha256(f"{method} {path} {body}".encode()).hexdigest()
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = _Entry(fingerprint, time.time())
            return None
        if entry.fingerprint != fingerprint:
            raise StripeError(
                "Keys for idempotent requests can only be used with the same endpoint and parameters they were first "
                f"used with. Try using a key other than '{key}' if you meant to execute a different request.",
                type="idempotency_error",
            )
        if entry.answer is None:
            raise StripeError(
                "There is currently another in-progress request using this Idempotency Key (that probably means you "
                "submitted twice, and the other request is still going through).",
                status=409,
                type="idempotency_error",
                code="idempotency_key_in_use",
            )
        return entry.answer

    def finish(self, key: str, answer: Answer) -> None:
        self._entries[key].answer = answer

    def abandon(self, key: str) -> None:
        """Let a key go whose request never began."""
        self._entries.pop(key, None)

    def _forget_old(self) -> None:
        limit = time.time() - _KEPT_FOR
        while self._entries:
            oldest = next(iter(self._entries))
            if self._entries[oldest].at > limit:
                return
            del self._entries[oldest]
