"""Limits of charges per currency, as documented by Stripe in November 2026, and the format of amounts in errors.

docs.stripe.com/currencies#minimum-and-maximum-charge-amounts; amounts are in minor units.
"""

from __future__ import annotations

_MINIMUM = {
    "aed": 200, "aud": 50, "bgn": 100, "brl": 50, "cad": 50, "chf": 50, "czk": 1_500, "dkk": 250, "eur": 50,
    "gbp": 30, "hkd": 400, "huf": 17_500, "inr": 50, "jpy": 50, "mxn": 1_000, "myr": 200, "nok": 300, "nzd": 50,
    "pln": 200, "ron": 200, "sek": 300, "sgd": 50, "thb": 1_000, "usd": 50,
}  # fmt: skip
_SYMBOLS = {"eur": "€", "gbp": "£", "jpy": "¥", "usd": "$"}
_ZERO_DECIMAL = frozenset(
    ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf"]
)  # docs.stripe.com/currencies#zero-decimal
MAXIMUM_CHARGE = 99_999_999


def minimum_charge(currency: str) -> int:
    """The smallest amount that can be charged; that of US dollars for a currency without a documented one."""
    return _MINIMUM.get(currency, 50)


def written(amount: int, currency: str) -> str:
    """`$0.50 usd`, as in Stripe's errors."""
    number = f"{amount:,}" if currency in _ZERO_DECIMAL else f"{amount / 100:,.2f}"
    return f"{_SYMBOLS.get(currency, '')}{number} {currency}"
