"""Tokens of the links `/pay/{token}`: they name a purchase or an installment, and cannot be guessed. Pure.

A token is the id and a MAC of it, so it needs no row, and a wrong one is rejected without a query. It authorizes
nothing but paying: its holder is sent to a page of Stripe's. Links end when PAY_LINK_SECRET is changed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from uuid import UUID

_ID_BYTES = 16
_MAC_BYTES = 16
"""128 bits, as RFC 2104 (5) recommends at least for a truncated HMAC-SHA-256."""
_PURPOSE = b"bursar pay link v1"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


def token_of(id: UUID, *, secret: str) -> str:
    """43 characters of base64url."""
    return base64.urlsafe_b64encode(id.bytes + _mac(id, secret)).decode().rstrip("=")


def id_in(token: str, *, secret: str) -> UUID | None:
    """The id that the token names; None if it is not one of ours."""
    if _TOKEN.fullmatch(token) is None:
        return None
    decoded = base64.urlsafe_b64decode(f"{token}=")
    id = UUID(bytes=decoded[:_ID_BYTES])
    return id if hmac.compare_digest(token, token_of(id, secret=secret)) else None


def _mac(id: UUID, secret: str) -> bytes:
    return hmac.new(secret.encode(), _PURPOSE + id.bytes, hashlib.sha256).digest()[:_MAC_BYTES]
