"""Verifies the Stripe-Signature header. Not by the SDK: it takes one secret per call, accepts timestamps from the
future and raises TypeError on hostile headers. A contract test compares the two.

Source: https://docs.stripe.com/webhooks#verify-manually
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass

from webhook_gateway.problems import SIGNATURE_INVALID, SIGNATURE_MISSING, SIGNATURE_STALE

TOLERANCE_SECONDS = 300
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_MAX_PARTS = 32
_MAX_HEADER = 4096


@dataclass(frozen=True, slots=True)
class Signature:
    """A parsed header."""

    timestamp: str
    signatures: Sequence[bytes]

    @classmethod
    def parse(cls, header: str | None) -> Signature:
        """Raises a 400 Problem for a header that is missing or malformed."""
        if not header:
            raise SIGNATURE_MISSING()
        parts = [part.partition("=") for part in header[:_MAX_HEADER].split(",", _MAX_PARTS)]
        timestamps = [value.strip() for name, _, value in parts if name.strip() == "t"]
        signatures = [value.strip().encode("latin-1", "replace") for name, _, value in parts if name.strip() == "v1"]
        if len(timestamps) != 1 or not _TIMESTAMP.fullmatch(timestamps[0]) or not signatures:
            raise SIGNATURE_INVALID("The Stripe-Signature header is malformed.")
        return cls(timestamps[0], signatures)

    def verify(self, body: bytes, secrets: Sequence[bytes]) -> str:
        """Returns a header with the signature that matches. Raises a 400 Problem unless a secret signed the body, at
        any time."""
        signed = self.timestamp.encode() + b"." + body
        for secret in secrets:
            ours = hmac.digest(secret, signed, "sha256").hex()
            if any(hmac.compare_digest(ours.encode(), theirs) for theirs in self.signatures):
                return f"t={self.timestamp},v1={ours}"
        raise SIGNATURE_INVALID()

    def check_age(self, now: float) -> None:
        """Raises a 400 Problem unless it was signed within 300 s of `now` (Unix seconds), either way."""
        if abs(now - int(self.timestamp)) > TOLERANCE_SECONDS:
            detail = f"The signature's timestamp is more than {TOLERANCE_SECONDS} s from the server's time."
            raise SIGNATURE_STALE(detail)


def verify(*, header: str | None, body: bytes, secrets: Sequence[bytes], now: float) -> str:
    """The same in one step, within 300 s of `now`."""
    signature = Signature.parse(header)
    signature.check_age(now)
    return signature.verify(body, secrets)
