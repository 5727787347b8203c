"""The wire's form encoding: `line_items[0][price_data][currency]=usd` becomes nested hashes.

Lists stay hashes with numbered keys here: which of the two it is, only the declared type knows (see `params`).
"""

import re
from typing import Any
from urllib.parse import parse_qsl

from stripe_sandbox.errors import StripeError

_MAX_DEPTH = 8
_KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")


def decode(text: str) -> dict[str, Any]:
    """Nested hashes of strings. Raises a Stripe error for keys that do not nest."""
    decoded: dict[str, Any] = {}
    for key, value in parse_qsl(text, keep_blank_values=True):
        _place(decoded, _split(key), value, key)
    return decoded


def _split(key: str) -> list[str]:
    match = _KEY.fullmatch(key)
    if match is None or (parts := re.findall(r"\[([^\[\]]*)\]", match[2])) is None or len(parts) > _MAX_DEPTH:
        raise StripeError(f"Invalid parameter name: {key}", param=key)
    return [match[1], *parts]


def _place(into: dict[str, Any], parts: list[str], value: str, key: str) -> None:
    for part in parts[:-1]:
        into = into.setdefault(part or str(len(into)), {})
        if not isinstance(into, dict):
            raise StripeError(f"Invalid hash: {key}", param=key)
    into[parts[-1] or str(len(into))] = value
