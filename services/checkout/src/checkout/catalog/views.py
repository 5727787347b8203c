"""Items in answers. They have no constraints: what is stored can be displayed, so that an admin can correct it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import (
    BaseModel,
    Field,
    JsonValue,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from checkout.catalog.item import WITHOUT_PARTS, Item, PaymentPlan
from checkout.units import Price, in_major_units
from contracts.checkout import Project
from contracts.people import ItemKind

_PRICES = ("price", "total_cost", "annual_price")


def _or_none(value: object, validate: ValidatorFunctionWrapHandler) -> object:
    try:
        return validate(value)
    except ValidationError:
        return None


StoredPlan = Annotated[PaymentPlan | None, WrapValidator(_or_none)]
StoredProjects = Annotated[list[Project] | None, WrapValidator(_or_none)]


class Priced(BaseModel):
    """Made from a row, whose prices are minor units."""

    price: Price
    amount: int = Field(description="the price in minor units")
    currency: str

    @model_validator(mode="before")
    @classmethod
    def _in_major_units(cls, row: Any) -> Any:  # a row's mapping
        if not isinstance(row, Mapping) or "amount" in row:
            return row
        stored = {name: row[name] for name in _PRICES if row.get(name) is not None}
        prices = {name: in_major_units(amount, row["currency"]) for name, amount in stored.items()}
        return {**row, **prices, "amount": row["price"]}


class Program(Priced):
    id: UUID
    slug: str
    name: str
    total_cost: Price | None
    provider: str | None
    taught: bool
    active: bool
    created_at: datetime
    updated_at: datetime


class AdminItem(Priced):
    """`errors`: why it is not sold although it is active; PATCH what they name. `payment_plan` and `projects` are null
    if what is stored is invalid."""

    id: UUID
    kind: ItemKind
    slug: str
    external_id: str | None
    name: str
    category: str | None
    owner_id: UUID | None
    total_cost: Price | None
    provider: str | None
    auto_assign_payment_plan: bool
    payment_plan: StoredPlan
    tier: str | None
    annual_price: Price | None
    projects: StoredProjects
    taught: bool
    active: bool
    revision: int
    includes: list[str]
    errors: list[str]
    created_at: datetime
    updated_at: datetime

    @model_validator(mode="before")
    @classmethod
    def _with_errors(cls, row: Any) -> Any:  # a row's mapping
        return row if not isinstance(row, Mapping) or "errors" in row else {**row, "errors": _errors(row)}


def columns(view: type[Priced]) -> list[str]:
    """The columns of `items` that the view is made from."""
    return [name for name in view.model_fields if name not in ("amount", "includes", "errors")]


def _errors(row: Mapping[str, JsonValue]) -> list[str]:
    stored = {name: row[name] for name in Item.model_fields if name in row and name != "includes"}
    try:
        Item.model_validate(stored, context=WITHOUT_PARTS)
    except ValidationError as error:
        return [f"{'.'.join(map(str, each['loc'])) or 'item'}: {each['msg']}" for each in error.errors()]
    return []
