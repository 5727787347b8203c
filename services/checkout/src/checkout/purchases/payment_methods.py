"""Which payment methods are offered for an amount, a payer and a payment type, and why the others are not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

from checkout.purchases.domain import PaymentType, charges
from contracts.money import Money
from contracts.people import Payer

_FILE = Path(__file__).with_name("payment_methods.yaml")


class Method(BaseModel):
    """One method's limits, in minor units of a charge. `currencies` empty: any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    label: str
    min: int | None = None
    max: int | None = None
    payers: tuple[Payer, ...] = ()
    types: tuple[PaymentType, ...] = ()
    currencies: tuple[str, ...] = ()
    unavailable: str | None = None


class Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    as_of: date
    methods: tuple[Method, ...]


class Offer(BaseModel):
    """A method as a page displays it. `min` and `max` are the limits of a payment, in minor units of `currency`;
    `reason` says why it is not offered."""

    method: str
    label: str
    offered: bool
    min: int | None
    max: int | None
    currency: str
    reason: str | None


@cache
def table() -> Table:
    return Table.model_validate(yaml.safe_load(_FILE.read_text()))


def offers(*, amount: Money, payer: Payer, payment_type: PaymentType) -> list[Offer]:
    """Every method, in the order of the file."""
    try:
        each = charges(amount=amount, payment_type=payment_type)
    except ValueError:
        each = []
    return [_offer(method, each, payer, payment_type, amount.currency) for method in table().methods]


def allowed(*, amount: Money, payer: Payer, payment_type: PaymentType) -> list[str]:
    """The offered methods, by Stripe's names."""
    found = offers(amount=amount, payer=payer, payment_type=payment_type)
    return [offer.method for offer in found if offer.offered]


def recurring(*, amount: Money, payer: Payer) -> list[str]:
    """The methods that can be charged this amount repeatedly, by Stripe's names."""
    return [method.method for method in table().methods if _reason_against(method, [amount], payer, "plan") is None]


def _offer(method: Method, each: Sequence[Money], payer: Payer, payment_type: PaymentType, currency: str) -> Offer:
    reason = _reason_against(method, each, payer, payment_type)
    return Offer(
        method=method.method,
        label=method.label,
        offered=reason is None,
        min=method.min,
        max=method.max,
        currency=currency,
        reason=reason,
    )


def _reason_against(method: Method, each: Sequence[Money], payer: Payer, payment_type: PaymentType) -> str | None:
    if method.unavailable:
        return method.unavailable
    if payer not in method.payers:
        return f"{method.label} is not available to {payer}s."
    if payer == "sponsor" and payment_type == "plan":
        return "Sponsors pay in a single payment."
    if payment_type not in method.types:
        return f"{method.label} cannot pay in installments."
    if not each:
        return "The price is too small for installments."
    if method.currencies and each[0].currency not in method.currencies:
        return f"{method.label} does not accept {each[0].currency.upper()}."
    if method.min is not None and (smallest := min(each, key=_amount)).amount < method.min:
        return f"{method.label} requires at least {Money(amount=method.min, currency=smallest.currency)}."
    if method.max is not None and (largest := max(each, key=_amount)).amount > method.max:
        return f"{method.label} accepts at most {Money(amount=method.max, currency=largest.currency)}."
    return None


def _amount(money: Money) -> int:
    return money.amount
