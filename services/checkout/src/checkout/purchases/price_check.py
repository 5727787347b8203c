"""What a front end asks to buy, and the check of the price that it displays."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from checkout.purchases.domain import same_price
from contracts.money import Money
from contracts.people import ItemKind
from kit.http.errors import Problem

_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,4})?")


def _numeric(value: object) -> object:
    if isinstance(value, str):
        return value if _NUMBER.fullmatch(value) else None
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return value
    raise ValueError("an amount is a number, or a number in a string")


Amount = Annotated[
    Decimal | None,
    BeforeValidator(_numeric),
    WithJsonSchema(
        {
            "anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^\d+(\.\d+)?$"}],
            "description": "major units (4890 or “4890.00”), or minor units as GET /api/programs returns them",
        }
    ),
]
"""An amount as a client writes it; None for a string that is not numeric. For routes of `ExactJson`."""


@dataclass(frozen=True, kw_only=True)
class PriceCheck:
    """What was asked for, with the price that was sent along. `amount_sent`: whether there was any amount; `amount` is
    None if it was sent but is not numeric. `currency` None: none was sent."""

    reference: str
    kinds: Collection[ItemKind] | None
    amount_sent: bool
    amount: Decimal | None
    currency: str | None
    promotion_code: str | None


def check_price(sent: PriceCheck, price: Money, total: Money) -> None:
    """Raises Problem 409 when the amount sent is neither the catalog's price nor the total after the discount."""
    if sent.currency is not None and sent.currency.lower() != total.currency:
        raise Problem(
            409,
            "currency_mismatch",
            f"This is sold in {total.currency.upper()}.",
            price=total.amount,
            currency=total.currency,
        )
    if sent.amount_sent and not (same_price(sent.amount, price) or same_price(sent.amount, total)):
        raise price_mismatch(total)


def price_mismatch(right: Money) -> Problem:
    return Problem(
        409,
        "price_mismatch",
        f"The price is {right}. Display and send that price.",
        price=right.amount,
        currency=right.currency,
        price_major=str(right.to_decimal()),
    )
