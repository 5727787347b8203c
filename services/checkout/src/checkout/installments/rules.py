"""The school's rules for payment plans: checked in, with a date."""

from __future__ import annotations

from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator

from checkout.catalog.item import PaymentPlan
from contracts.money import Currency
from contracts.people import ItemKind

_FILE = Path(__file__).with_name("payment_plans.yaml")


class Rule(BaseModel):
    """`members`: only members, only non-members, or (None) both. Prices from `from_`, below `below`, in minor units."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kinds: tuple[ItemKind, ...]
    members: bool | None = None
    currency: Currency | None = None
    from_: Annotated[StrictInt | None, Field(alias="from", ge=0)] = None
    below: Annotated[StrictInt | None, Field(ge=1)] = None
    plan: PaymentPlan

    @model_validator(mode="after")
    def _band_has_currency(self) -> Rule:
        if self.currency is None and (self.from_ is not None or self.below is not None):
            raise ValueError("a price band needs a currency")
        return self


class Rules(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    as_of: date
    rules: tuple[Rule, ...]


@cache
def checked_in() -> Rules:
    return Rules.model_validate(yaml.safe_load(_FILE.read_text()))
