"""Ids in Stripe's format: a prefix for the type, and random letters and digits."""

from __future__ import annotations

import secrets
import string

_ALPHABET = string.ascii_letters + string.digits


def new_id(prefix: str, length: int = 24) -> str:
    """A new id, e.g. `new_id("cus")` -> `cus_...`."""
    return f"{prefix}_{random_text(length)}"


def random_text(length: int) -> str:
    """Random letters and digits. The slight modulo bias does not matter: nothing here is a real secret."""
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in secrets.token_bytes(length))
