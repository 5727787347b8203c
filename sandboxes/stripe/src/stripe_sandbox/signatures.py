"""`Stripe-Signature`: `t=<unix>,v1=<HMAC-SHA256 of "t.body">`, one v1 per secret."""

from __future__ import annotations

import hashlib
import hmac


def signature_header(body: bytes, secrets: list[str], *, at: int) -> str:
    """The header for a body sent at `at` (real Unix seconds). Several secrets are valid while one is rolled."""
    signed = f"{at}.".encode() + body
    digests = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={at}", *(f"v1={digest}" for digest in digests)])
