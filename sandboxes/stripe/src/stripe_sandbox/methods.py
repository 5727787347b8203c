"""The payment methods of a US account, with their amount limits and modes.

Limits are in minor units of USD, as documented by Stripe in November 2026. PayPal is limited to European accounts and
Stripe does not support Venmo, so neither is offered.
"""

from __future__ import annotations

from dataclasses import dataclass

_ANY = frozenset({"payment", "subscription", "setup"})
_PAYMENT = frozenset({"payment"})


@dataclass(frozen=True)
class Method:
    """Limits of a payment method. `modes` are the Checkout modes that support it."""

    label: str
    minimum: int = 50
    maximum: int = 99_999_999
    modes: frozenset[str] = _ANY


METHODS: dict[str, Method] = {
    "card": Method("Card"),
    "link": Method("Link"),
    "us_bank_account": Method("US bank account (ACH)"),
    "cashapp": Method("Cash App Pay"),
    "affirm": Method("Affirm", 5_000, 3_000_000, _PAYMENT),
    "klarna": Method("Klarna", 100, 1_000_000, frozenset({"payment", "subscription"})),
    "afterpay_clearpay": Method("Afterpay", 100, 400_000, _PAYMENT),
    "zip": Method("Zip", 3_500, 150_000, _PAYMENT),
}
REDIRECTING = frozenset({"cashapp", "affirm", "klarna", "afterpay_clearpay", "zip"})
"""Methods that the customer authorizes on a page of their own."""
INVOICE_METHODS = ["card", "link", "us_bank_account"]


def reusable(name: str) -> bool:
    """Whether a method can be saved for later charges."""
    return "setup" in METHODS[name].modes


def eligible(
    amount: int | None,
    currency: str,
    mode: str,
    *,
    allowed: list[str] | None = None,
    excluded: list[str] | None = None,
    saved: bool = False,
) -> list[str]:
    """The methods available for an amount (None in setup mode), in display order.

    `saved`: only those that can be saved for off-session charges.
    """
    return [
        name
        for name, method in METHODS.items()
        if mode in method.modes
        and (reusable(name) or not saved)
        and (currency == "usd" or name in ("card", "link"))
        and (amount is None or method.minimum <= amount <= method.maximum)
        and (allowed is None or name in allowed)
        and name not in (excluded or [])
    ]
