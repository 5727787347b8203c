"""Form decoding: `line_items[0][price_data][currency]=usd` becomes nested hashes.

Lists remain hashes with numeric keys: only the declared type tells them apart (see `params`).
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

from stripe_sandbox.errors import StripeError

_MAX_DEPTH = 8
_KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")


def decode(text: str) -> dict[str, Any]:
    """Nested hashes of strings. Raises a StripeError for conflicting or malformed keys."""
    decoded: dict[str, Any] = {}
    for key, value in parse_qsl(text, keep_blank_values=True):
        _insert(decoded, _split(key), value, key)
    return decoded


def _split(key: str) -> list[str]:
    match = _KEY.fullmatch(key)
    if match is None or (parts := re.findall(r"\[([^\[\]]*)\]", match[2])) is None or len(parts) > _MAX_DEPTH:
        raise StripeError(f"Invalid parameter name: {key}", param=key)
    return [match[1], *parts]


def _insert(into: dict[str, Any], parts: list[str], value: str, key: str) -> None:
    for part in parts[:-1]:
        into = into.setdefault(part or str(len(into)), {})
        if not isinstance(into, dict):
            raise StripeError(f"Invalid hash: {key}", param=key)
    into[parts[-1] or str(len(into))] = value
