"""Amounts and times as pages display them. Pure."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal

from contracts.money import Money

_SIGNS = {"usd": "$", "eur": "€", "gbp": "£"}


def amount(minor: int, currency: str) -> str:
    """`$1,222.50`; other currencies as `1,222.50 CHF`."""
    value: Decimal = Money(amount=abs(minor), currency=currency.lower()).to_decimal()
    text, sign = f"{value:,}", "−" if minor < 0 else ""
    symbol = _SIGNS.get(currency.lower())
    return f"{sign}{symbol}{text}" if symbol else f"{sign}{text} {currency.upper()}"


def minor_units(text: str, currency: str) -> int:
    """Of an amount that a person has typed in major units: `4,890.00`. Raises ValueError."""
    plain = text.strip().replace(",", "")
    if not re.fullmatch(r"[0-9]{1,10}(\.[0-9]{1,3})?", plain):
        raise ValueError("no amount")
    value = Decimal(plain).scaleb(Money(amount=0, currency=currency).exponent)
    if value != int(value):
        raise ValueError("more decimals than the currency has")
    return int(value)


def day(text: str | None) -> str:
    """`November 22, 2026` in UTC; empty for None."""
    if text is None:
        return ""
    moment = datetime.fromisoformat(text)
    return f"{moment:%B} {moment.day}, {moment.year}"


def moment(text: str | None) -> str:
    """`November 22, 2026, 14:05 UTC`; empty for None."""
    return f"{day(text)}, {datetime.fromisoformat(text):%H:%M} UTC" if text else ""


def words(text: str | None) -> str:
    """A code for people: `case_manager` as `case manager`."""
    return (text or "").replace("_", " ").replace("-", " ")


def figure(value: int | None, unit: str) -> str:
    """Of a figure in the APIs' documents: `75.00 %`, `2.9 s`, `2.9 ms`, or the count."""
    if value is None:
        return "none"
    match unit:
        case "basis_points":
            return f"{value // 100}.{value % 100:02d} %"
        case "milliseconds":
            return f"{value // 1000}.{value % 1000 // 100} s"
        case "microseconds":
            return f"{value // 1000:,}.{value % 1000 // 100} ms"
    return f"{value:,}"


def size(count: int) -> str:
    """`12.3 MB`: bytes, in powers of 1,000."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count // factor:,}.{count % factor * 10 // factor} {unit}"
    return f"{count} bytes"
