"""Whether Stripe has sent this body just now. Written by ourselves: the SDK takes one secret at a time, accepts
timestamps from the future and raises TypeError on hostile headers (a contract test holds it against the SDK's own).

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
_MOST_PARTS = 32


def verify(*, header: str | None, body: bytes, secrets: Sequence[bytes], now: float) -> None:
    """Raises a 400 Problem unless one of `secrets` signed `body`, within 300 s of `now` (Unix seconds) either way."""
    if not header:
        raise Problem(400, "signature_missing", "There is no Stripe-Signature header.")
    parts = [part.partition("=") for part in header.split(",", _MOST_PARTS)]
    timestamps = [value.strip() for name, _, value in parts if name.strip() == "t"]
    signatures = [value.strip().encode("latin-1", "replace") for name, _, value in parts if name.strip() == "v1"]
    if len(timestamps) != 1 or not _TIMESTAMP.fullmatch(timestamps[0]) or not signatures:
        raise Problem(400, "signature_invalid", "The Stripe-Signature header cannot be read.")
    signed = timestamps[0].encode() + b"." + body
    expected = [hmac.new(secret, signed, hashlib.sha256).hexdigest().encode() for secret in secrets]
    if not any(hmac.compare_digest(mine, theirs) for mine in expected for theirs in signatures):
        raise Problem(400, "signature_invalid", "The signature is not one of ours: check the endpoint's secret.")
    if abs(now - int(timestamps[0])) > TOLERANCE_SECONDS:
        raise Problem(400, "signature_stale", f"The signature is more than {TOLERANCE_SECONDS} s away from our clock.")
