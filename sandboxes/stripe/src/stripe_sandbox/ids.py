"""Identifiers that look like Stripe's: a prefix that tells the type, and 24 random letters and digits."""

import secrets
import string

_ALPHABET = string.ascii_letters + string.digits


def new_id(prefix: str, length: int = 24) -> str:
    """A fresh identifier, e.g. `new_id("cus")` -> `cus_...`."""
    return f"{prefix}_{random_text(length)}"


def random_text(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
