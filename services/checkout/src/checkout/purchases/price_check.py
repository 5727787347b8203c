"""What a front end asks to buy, and the check of the price that it displays."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from checkout.exact_json import ExactProblem
from checkout.problems import CURRENCY_MISMATCH, PRICE_MISMATCH
from contracts.money import Money
from contracts.people import ItemKind
from kit.http.problems import ProblemType

DisplayedAmount = Annotated[int | None, Field(strict=True, ge=0, le=10**15)]
"""The amount that a front end displays, if it sends it. It must be the catalog's."""


@dataclass(frozen=True, kw_only=True)
class PriceCheck:
    """What was asked for, with the amount (minor units) and the currency that were sent along; None: not sent."""

    reference: str
    kinds: Collection[ItemKind] | None
    amount: int | None
    currency: str | None
    promotion_code: str | None


def check_price(sent: PriceCheck, price: Money, total: Money) -> None:
    """Raises Problem 409 when the amount sent is neither the catalog's price nor the total after the discount."""
    if sent.currency is not None and sent.currency.lower() != total.currency:
        raise _mismatch(CURRENCY_MISMATCH, f"This is sold in {total.currency.upper()}.", total)
    if sent.amount not in (None, price.amount, total.amount):
        raise price_mismatch(total)


def price_mismatch(right: Money) -> ExactProblem:
    return _mismatch(PRICE_MISMATCH, f"The price is {right}. Display and send that price.", right)


def _mismatch(type: ProblemType, detail: str, right: Money) -> ExactProblem:
    """`price` is major units, `amount` the same in minor units."""
    return ExactProblem(type, detail, price=right.to_decimal(), amount=right.amount, currency=right.currency)
