"""Text that every store can hold."""

from __future__ import annotations

import re
from typing import Any

REPLACEMENT = "\ufffd"
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def storable(value: Any) -> Any:  # Any: JSON
    """The same with U+FFFD for each control character but tabs and line ends, and for each lone surrogate: PostgreSQL
    holds no NUL, and UTF-8 no surrogates."""
    match value:
        case str():
            return _NOT_TEXT.sub(REPLACEMENT, value)
        case dict():
            return {storable(name): storable(inner) for name, inner in value.items()}
        case list() | tuple():
            return [storable(inner) for inner in value]
        case _:
            return value
