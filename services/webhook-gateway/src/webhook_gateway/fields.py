"""Typed access to untrusted JSON: each function returns the value if it has the expected form, else None.

Pure and total: no input makes any of them raise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from contracts.money import Money

_MAX_MINOR_UNITS = 10**12  # above what Stripe can charge; keeps hostile numbers out of database columns
_MAX_TIMESTAMP = 253_402_300_799  # the end of the year 9999
_PLACEHOLDERS = frozenset({"undefined", "null", "none", "nan"})

JsonObject = Mapping[str, Any]


def value_at(value: object, *path: str) -> object:
    """The value at the path, or None."""
    for name in path:
        if not isinstance(value, dict):  # JSON has no other mapping, and this is called a hundred times per event
            return None
        value = value.get(name)
    return value


def object_at(value: object, *path: str) -> JsonObject:
    found = value_at(value, *path)
    return found if isinstance(found, dict) else {}


def objects_at(value: object, *path: str) -> Iterator[JsonObject]:
    found = value_at(value, *path)
    if isinstance(found, list):
        yield from (each for each in found if isinstance(each, dict))


def text(value: object, *path: str, limit: int = 200) -> str | None:
    """Text that can be stored and sent: no NUL, no lone surrogates, not blank, cut to `limit` characters."""
    found = value_at(value, *path)
    if not isinstance(found, str):
        return None
    clean = found if found.isascii() else found.encode("utf-8", "ignore").decode()
    return clean.replace("\x00", "").strip()[:limit] or None


def metadata_text(metadata: JsonObject, name: str, limit: int = 200) -> str | None:
    """A metadata value, or None where a front end sent a placeholder.

    JavaScript turns a missing value into the text "undefined", "null", "NaN" or "[object Object]" and Python into
    "None": as an id, any of them would be shared by everyone whose value is missing.
    """
    found = text(metadata, name, limit=limit)
    if found is None or found.lower() in _PLACEHOLDERS or found.startswith("[object "):
        return None
    if found.isascii() and found.isprintable():
        return found
    return found if any(char.isprintable() and not char.isspace() for char in found) else None


def url(value: object, *path: str, limit: int = 2000) -> str | None:
    """A web address. None if too long or containing whitespace: a truncated URL would point elsewhere."""
    found = text(value, *path, limit=limit + 1)
    if found is None or len(found) > limit or not found.startswith(("https://", "http://")):
        return None
    return found if found.isprintable() and " " not in found else None


def object_id(value: object, *path: str) -> str | None:
    """The id of a referenced object, whether the reference is an id or the expanded object."""
    found = value_at(value, *path)
    return text(found, "id") if isinstance(found, dict) else text(value, *path)


def integer(value: object, *path: str) -> int | None:
    """A non-negative integer."""
    found = value_at(value, *path)
    if isinstance(found, int) and not isinstance(found, bool) and 0 <= found <= _MAX_MINOR_UNITS:
        return found
    return None


def signed_integer(value: object, *path: str) -> int | None:
    found = value_at(value, *path)
    if isinstance(found, int) and not isinstance(found, bool) and abs(found) <= _MAX_MINOR_UNITS:
        return found
    return None


def total(value: object, *path: str) -> int:
    """The sum of the `amount` of each object in the list."""
    return min(sum(integer(each, "amount") or 0 for each in objects_at(value, *path)), _MAX_MINOR_UNITS)


def metadata_integer(metadata: JsonObject, name: str) -> int | None:
    """A non-negative integer in metadata, where every value is text."""
    found = metadata_text(metadata, name) or ""
    if len(found) > len(str(_MAX_MINOR_UNITS)) or not (found.isascii() and found.isdigit()):
        return None
    return number if (number := int(found)) <= _MAX_MINOR_UNITS else None


def money_at(value: object, name: str) -> Money | None:
    """The amount `name` of an object, in the object's `currency`."""
    return money(integer(value, name), text(value, "currency"))


def money(amount: int | None, currency: str | None) -> Money | None:
    """The amount in that currency; None if either is missing or the currency is not three letters."""
    if amount is None or currency is None or len(currency) != 3:
        return None
    lower = currency.lower()
    return Money(amount=amount, currency=lower) if lower.isascii() and lower.isalpha() else None


def portion(amount: Money, part: int | None) -> Money | None:
    """`part` of the amount, at most all of it; None for zero."""
    found = min(part or 0, amount.amount)
    return amount.model_copy(update={"amount": found}) if found else None


def metadata_object(metadata: JsonObject, name: str, limit: int = 500) -> JsonObject:
    """A JSON object in metadata, as text of at most `limit` characters (Stripe's limit for a metadata value)."""
    found = metadata.get(name)
    if not isinstance(found, str) or len(found) > limit:
        return {}
    try:
        decoded = json.loads(found)
    except (ValueError, RecursionError):
        return {}
    return decoded if isinstance(decoded, dict) else {}


def timestamp(value: object, *path: str) -> datetime | None:
    """Unix seconds as a UTC datetime."""
    found = value_at(value, *path)
    if isinstance(found, int) and not isinstance(found, bool) and 0 < found <= _MAX_TIMESTAMP:
        return datetime.fromtimestamp(found, UTC)
    return None
