"""Which prices at Stripe the memberships are sold by, as the environment says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

from pydantic import BaseModel, field_validator, model_validator

from checkout.purchases.domain import Interval
from kit.runtime.settings import CommaSeparated

_PRICE = re.compile(r"(.{1,50})/(month|year)=([^\s=]{1,255})")


class MembershipPriceSettings(BaseModel):
    """A mixin. A tier that has no price here gets one that is made at Stripe when it is first bought."""

    stripe_price_student: str | None = None
    stripe_price_career: str | None = None
    stripe_price_student_annual: str | None = None
    stripe_price_career_annual: str | None = None
    stripe_prices: CommaSeparated = ()
    """For any other tier, and before the four above: `alumni/month=price_…, alumni/year=price_…`."""

    @field_validator(
        "stripe_price_student",
        "stripe_price_career",
        "stripe_price_student_annual",
        "stripe_price_career_annual",
        mode="before",
    )
    @classmethod
    def _no_price(cls, value: object) -> object:
        return value or None

    @field_validator("stripe_prices")
    @classmethod
    def _named(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(_PRICE.fullmatch(each) for each in value):
            raise ValueError("each is tier/month=price id, or tier/year=price id")
        return value

    @model_validator(mode="after")
    def _one_price_for_each(self) -> MembershipPriceSettings:
        """What a subscription gives is read from its price: with one price for two, who buys the one gets the other."""
        prices = list(self.membership_prices.values())
        if len(prices) != len(set(prices)):
            raise ValueError("two memberships have the same price at Stripe")
        return self

    @property
    def membership_prices(self) -> Mapping[tuple[str, Interval], str]:
        """(tier, interval) -> Stripe's price id"""
        named: dict[tuple[str, Interval], str | None] = {
            ("student", "month"): self.stripe_price_student,
            ("career", "month"): self.stripe_price_career,
            ("student", "year"): self.stripe_price_student_annual,
            ("career", "year"): self.stripe_price_career_annual,
        }
        for each in self.stripe_prices:
            if (found := _PRICE.fullmatch(each)) is not None:
                tier, interval, price = found.groups()
                named[tier, cast(Interval, interval)] = price
        return {key: price for key, price in named.items() if price}
