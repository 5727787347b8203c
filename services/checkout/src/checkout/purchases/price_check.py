"""What a front end asks for, beside the price that it has shown."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal

from checkout.purchases.domain import same_price
from contracts.money import Money
from contracts.people import ItemKind
from kit.http.errors import Problem


@dataclass(frozen=True, kw_only=True)
class Asked:
    """`shown`: whether the front end has said an amount; None is then one that is no number. `currency` None: it has
    not said one."""

    reference: str
    kinds: Collection[ItemKind] | None
    shown: bool
    amount: Decimal | None
    currency: str | None
    promotion_code: str | None


def price_as_shown(asked: Asked, price: Money, total: Money) -> None:
    """Raises Problem 409 when what was shown is neither the catalog's price nor what is left of it."""
    if asked.currency is not None and asked.currency.lower() != total.currency:
        raise Problem(
            409,
            "currency_mismatch",
            f"This is sold in {total.currency.upper()}.",
            price=total.amount,
            currency=total.currency,
        )
    if asked.shown and not (same_price(asked.amount, price) or same_price(asked.amount, total)):
        raise price_mismatch(total)


def price_mismatch(right: Money) -> Problem:
    return Problem(
        409,
        "price_mismatch",
        f"The price is {right}. Show that, and send it.",
        price=right.amount,
        currency=right.currency,
        price_major=str(right.to_decimal()),
    )
