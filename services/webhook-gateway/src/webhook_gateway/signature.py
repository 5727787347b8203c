"""Verifies the Stripe-Signature header. Not by the SDK: it takes one secret per call, accepts timestamps from the
future and raises TypeError on hostile headers. A contract test compares the two.

Source: https://docs.stripe.com/webhooks#verify-manually
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence

from kit.http.errors import Problem

TOLERANCE_SECONDS = 300
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_MAX_PARTS = 32


def verify(*, header: str | None, body: bytes, secrets: Sequence[bytes], now: float) -> None:
    """Raises a 400 Problem unless one of `secrets` signed `body`, within 300 s of `now` (Unix seconds) either way."""
    if not header:
        raise Problem(400, "signature_missing", "The Stripe-Signature header is missing.")
    parts = [part.partition("=") for part in header.split(",", _MAX_PARTS)]
    timestamps = [value.strip() for name, _, value in parts if name.strip() == "t"]
    signatures = [value.strip().encode("latin-1", "replace") for name, _, value in parts if name.strip() == "v1"]
    if len(timestamps) != 1 or not _TIMESTAMP.fullmatch(timestamps[0]) or not signatures:
        raise Problem(400, "signature_invalid", "The Stripe-Signature header is malformed.")
    signed = timestamps[0].encode() + b"." + body
    expected = [hmac.new(secret, signed, hashlib.sha256).hexdigest().encode() for secret in secrets]
    if not any(hmac.compare_digest(ours, theirs) for ours in expected for theirs in signatures):
        raise Problem(400, "signature_invalid", "The signature does not match. Check the endpoint's signing secret.")
    if abs(now - int(timestamps[0])) > TOLERANCE_SECONDS:
        raise Problem(
            400,
            "signature_stale",
            f"The signature's timestamp is more than {TOLERANCE_SECONDS} s from the server's time.",
        )
