"""Money: integers, one currency at a time, and installments that sum to the price."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.money import CurrencyMismatch, Money, usd


@given(amount=st.integers(1, 10**9), count=st.integers(1, 48))
def test_installments_sum_to_the_price_and_differ_in_the_first_only(amount: int, count: int) -> None:
    price = usd(max(amount, count))
    parts = price.installments(count)
    assert len(parts) == count
    assert sum(part.amount for part in parts) == price.amount
    assert len({part.amount for part in parts[1:]}) <= 1
    assert 0 <= parts[0].amount - price.amount // count < count


@pytest.mark.parametrize(("amount", "count"), [(3, 4), (0, 1), (100, 0), (100, -1)])
def test_what_cannot_be_split(amount: int, count: int) -> None:
    with pytest.raises(ValueError, match="split"):
        usd(amount).installments(count)


def test_no_arithmetic_across_currencies() -> None:
    with pytest.raises(CurrencyMismatch):
        usd(1) + Money(amount=1, currency="eur")
    assert usd(5) - usd(7) == usd(-2)


@pytest.mark.parametrize("amount", [1.0, 1.5, "100", True, None])
def test_an_amount_is_an_integer(amount: object) -> None:
    with pytest.raises(ValidationError):
        Money.model_validate({"amount": amount, "currency": "usd"})


@pytest.mark.parametrize(
    ("money", "decimal", "written"),
    [
        (usd(489_000), Decimal("4890.00"), "4,890.00 USD"),
        (usd(5), Decimal("0.05"), "0.05 USD"),
        (Money(amount=500, currency="jpy"), Decimal("500"), "500 JPY"),
        (Money(amount=1_500, currency="kwd"), Decimal("1.500"), "1.500 KWD"),
    ],
)
def test_major_units_are_exact(money: Money, decimal: Decimal, written: str) -> None:
    assert money.to_decimal() == decimal
    assert str(money) == written
