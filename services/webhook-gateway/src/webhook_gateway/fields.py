"""Reading fields out of JSON that anybody may have built: the value when it is what it should be, else None.

Pure and total: no input makes any of these raise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from contracts.money import Money

_MOST_MINOR_UNITS = 10**12  # above what Stripe can charge; keeps hostile numbers out of everybody's columns
_LATEST_SECOND = 253_402_300_799  # the end of the year 9999

JsonObject = Mapping[str, Any]


def at(value: object, *path: str) -> object:
    """What stands at the path, None when there is nothing."""
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def an_object(value: object, *path: str) -> JsonObject:
    found = at(value, *path)
    return found if isinstance(found, Mapping) else {}


def objects(value: object, *path: str) -> Iterator[JsonObject]:
    found = at(value, *path)
    if isinstance(found, list):
        yield from (each for each in found if isinstance(each, Mapping))


def text(value: object, *path: str, most: int = 200) -> str | None:
    """A text that can be stored and sent: no NUL, no lone surrogates, at most `most` characters, not blank."""
    found = at(value, *path)
    if not isinstance(found, str):
        return None
    clean = found.replace("\x00", "").encode("utf-8", "ignore").decode().strip()
    return clean[:most] or None


def url(value: object, *path: str, most: int = 2000) -> str | None:
    """The address of a web page. One that is too long, or has a gap in it, is none: half of it leads elsewhere."""
    found = text(value, *path, most=most + 1)
    if found is None or len(found) > most or not found.startswith(("https://", "http://")):
        return None
    return found if found.isprintable() and " " not in found else None


def ref(value: object, *path: str) -> str | None:
    """The id of an object, whether it stands there as an id or expanded."""
    found = at(value, *path)
    return text(found, "id") if isinstance(found, Mapping) else text(value, *path)


def whole(value: object, *path: str) -> int | None:
    """A whole number that is not negative."""
    found = at(value, *path)
    if isinstance(found, int) and not isinstance(found, bool) and 0 <= found <= _MOST_MINOR_UNITS:
        return found
    return None


def digits(value: object, *path: str) -> int | None:
    """A whole number that stands there as text, as metadata has it."""
    found = text(value, *path) or ""
    if len(found) > len(str(_MOST_MINOR_UNITS)) or not (found.isascii() and found.isdigit()):
        return None
    return number if (number := int(found)) <= _MOST_MINOR_UNITS else None


def money(value: object, name: str) -> Money | None:
    """The amount `name` of an object in the object's `currency`."""
    return in_currency(whole(value, name), text(value, "currency"))


def in_currency(amount: int | None, currency: str | None) -> Money | None:
    """The amount as money, when it is one and the currency looks like one."""
    if amount is None or currency is None or len(currency) != 3:
        return None
    lower = currency.lower()
    return Money(amount=amount, currency=lower) if lower.isascii() and lower.isalpha() else None


def json_object(value: object, *path: str, most: int = 500) -> JsonObject:
    """An object that stands there as JSON text of at most `most` characters (Stripe's limit for a metadata value)."""
    found = at(value, *path)
    if not isinstance(found, str) or len(found) > most:
        return {}
    try:
        read = json.loads(found)
    except (ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def moment(value: object, *path: str) -> datetime | None:
    """Unix seconds as a time in UTC."""
    found = at(value, *path)
    if isinstance(found, int) and not isinstance(found, bool) and 0 < found <= _LATEST_SECOND:
        return datetime.fromtimestamp(found, UTC)
    return None
