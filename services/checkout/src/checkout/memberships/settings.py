"""Which prices at Stripe the memberships are sold by, as the environment says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, cast

from pydantic import BaseModel, Field, field_validator

from checkout.buying.domain import Interval

_PriceId = Annotated[str, Field(min_length=1, max_length=255)]


class MembershipPriceSettings(BaseModel):
    """A mixin. A tier that has no price here gets one that is made at Stripe when it is first bought."""

    stripe_price_student: str | None = None
    stripe_price_career: str | None = None
    stripe_price_student_annual: str | None = None
    stripe_price_career_annual: str | None = None
    stripe_prices: dict[Annotated[str, Field(pattern="^.{1,50}/(month|year)$")], _PriceId] = {}
    """For any other tier, and before the four above: `{"alumni/month": "price_…"}`."""

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

    @field_validator("stripe_prices", mode="before")
    @classmethod
    def _no_prices(cls, value: object) -> object:
        return value or {}

    @property
    def membership_prices(self) -> Mapping[tuple[str, Interval], str]:
        """(tier, interval) -> Stripe's price id"""
        named: dict[tuple[str, Interval], str | None] = {
            ("student", "month"): self.stripe_price_student,
            ("career", "month"): self.stripe_price_career,
            ("student", "year"): self.stripe_price_student_annual,
            ("career", "year"): self.stripe_price_career_annual,
        }
        for name, price in self.stripe_prices.items():
            tier, _, interval = name.rpartition("/")
            named[tier, cast(Interval, interval)] = price
        return {key: price for key, price in named.items() if price}
