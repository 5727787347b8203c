"""The units of money in requests and answers.

A price (`price`, `list_price`, `annual_price`, …), `total_cost` and `refund_amount` are major units, as people write
them: 300, 299.99 or "299.99". Every other amount is an integer of minor units with its `currency` beside it. The
catalog, the database and the events contain minor units only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from checkout.exact_json import number
from checkout.problems import TOO_MANY_DECIMALS
from contracts.money import Money

_MAJOR = re.compile(r"(\w+_)?price|total_cost|refund_amount")
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,10})?")
_DIGITS = 25


def _decimal(sent: object) -> Decimal:
    if isinstance(sent, str) and _NUMBER.fullmatch(sent):
        return Decimal(sent)
    if isinstance(sent, (int, Decimal)) and not isinstance(sent, bool):
        value = Decimal(sent)
        if value.is_finite() and value >= 0 and _is_short(value):
            return value
    raise ValueError("a price is a number of major units, or such a number in a string: 299.99")


def _is_short(value: Decimal) -> bool:
    """So that arithmetic is exact: a Decimal's has 28 digits."""
    _, digits, exponent = value.as_tuple()
    return isinstance(exponent, int) and exponent >= -_DIGITS and value.adjusted() < 15 and len(digits) <= _DIGITS


MajorUnits = Annotated[
    Decimal,
    BeforeValidator(_decimal),
    WithJsonSchema(
        {
            "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^\d+(\.\d+)?$"}],
            "description": "major units, with at most the currency's decimals: 300, 299.99",
        }
    ),
]
"""In requests to routes of `ExactJson`; converted by `money_of` or `in_minor_units`."""

Price = Annotated[
    Decimal,
    PlainSerializer(number, return_type=str, when_used="json"),
    WithJsonSchema({"type": "number", "description": "major units, with the currency's decimals: 300.00"}),
]
"""In answers of routes of `ExactJson`; made by Money.to_decimal() or `in_major_units`."""


def is_major(field: str) -> bool:
    """Whether a field with this name is major units."""
    return _MAJOR.fullmatch(field) is not None


def money_of(value: Decimal, currency: str, *, field: str = "price") -> Money:
    """Raises Problem 422 for more decimals than the currency has."""
    zero = Money(amount=0, currency=currency)
    minor = value.scaleb(zero.exponent)
    if minor != minor.to_integral_value():
        detail = f"`{field}` has more decimals than {currency.upper()}: it takes at most {zero.exponent}."
        raise TOO_MANY_DECIMALS(detail)
    return Money(amount=int(minor), currency=currency)


def in_minor_units(values: Mapping[str, object], currency: str) -> dict[str, object]:
    """A request's fields, with those that are major units converted. Raises Problem 422 like `money_of`."""
    return {
        name: money_of(value, currency, field=name).amount if isinstance(value, Decimal) and is_major(name) else value
        for name, value in values.items()
    }


def in_major_units(amount: int, currency: str) -> Decimal:
    """For an answer. The currency is not checked: everything stored can be displayed."""
    return Money.model_construct(amount=amount, currency=currency).to_decimal()
