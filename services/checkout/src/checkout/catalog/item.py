"""Items, their payment plans, and sponsors. Pure. Amounts are minor units."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, ValidationInfo, model_validator

from contracts.checkout import Project
from contracts.money import Currency, Money, usd
from contracts.people import MEMBERSHIP, ItemKind, ItemRef, Program

SLUG = r"^[a-z0-9]+(-[a-z0-9]+)*$"
CODE = r"^[A-Z0-9]+([_-][A-Z0-9]+)*$"
SLUG_LENGTH = 100
LEAST = 50
"""Minor units: the least that a program costs, which is the least that Stripe takes in one payment (0.50 USD)."""
MOST = 99_999_999
"""Minor units: the most that Stripe takes in one payment."""
FUNDING_WITHOUT_COST = usd(29_500)
"""What a sponsor pays for an item without a total cost."""
MOST_PARTS = 20
"""Of a bundle: as many as fit into the metadata of a payment."""
WITHOUT_PARTS = "without parts"
"""Validation context: of a bundle whose parts are not loaded."""
WITH_PROJECTS: tuple[ItemKind, ...] = ("program", "track", "course")

Slug = Annotated[str, Field(pattern=SLUG, max_length=SLUG_LENGTH)]
Amount = Annotated[StrictInt, Field(ge=0, le=MOST, description="minor units")]
PlanType = Literal["full", "installments", "deposit_installments", "subscription"]


class PaymentPlan(BaseModel):
    """How an item is paid, unless the rules of payment_plans.yaml decide.

    `installments`: their number, not counting a deposit. `interval_days`: from one to the next; None: monthly. A
    subscription renews until it is canceled.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: PlanType
    installments: Annotated[StrictInt, Field(ge=1, le=60)] | None = None
    deposit_percent: Annotated[StrictInt, Field(ge=1, le=99)] | None = None
    interval_days: Annotated[StrictInt, Field(ge=1, le=366)] | None = None

    @model_validator(mode="after")
    def _whole(self) -> PaymentPlan:
        if (self.installments is not None) != (self.type in ("installments", "deposit_installments")):
            raise ValueError("`installments` is required for installments and deposit_installments, and only there")
        if self.type == "installments" and self.installments == 1:
            raise ValueError("a single installment is the type full")
        if (self.deposit_percent is not None) != (self.type == "deposit_installments"):
            raise ValueError("`deposit_percent` is required for deposit_installments, and only there")
        if self.type == "full" and self.interval_days is not None:
            raise ValueError("`interval_days` does not apply to the type full")
        return self


class Item(BaseModel):
    """What is sold. `price` of a membership is per month; `total_cost` is what a sponsor pays; `taught`: whether an
    instructor is assigned, if its kind has lessons; `includes` are a bundle's parts, in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: UUID
    kind: ItemKind = "program"
    slug: Slug
    external_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    name: Annotated[str, Field(min_length=1, max_length=300)]
    category: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    owner_id: UUID | None = None
    price: Amount
    currency: Currency
    total_cost: Annotated[StrictInt, Field(ge=LEAST, le=MOST)] | None = None
    provider: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    auto_assign_payment_plan: StrictBool = True
    payment_plan: PaymentPlan | None = None
    tier: Annotated[str, Field(min_length=1, max_length=50)] | None = None
    annual_price: Annotated[StrictInt, Field(ge=1, le=MOST)] | None = None
    projects: tuple[Project, ...] = ()
    taught: StrictBool = True
    active: StrictBool = True
    revision: Annotated[StrictInt, Field(ge=1)] = 1
    includes: tuple[Item, ...] = ()

    @model_validator(mode="after")
    def _of_its_kind(self, info: ValidationInfo) -> Item:
        if self.slug == MEMBERSHIP:
            raise ValueError(f"the slug {MEMBERSHIP} is reserved")
        if self.kind == "program" and self.price < LEAST:
            raise ValueError(f"a program costs at least {Money(amount=LEAST, currency=self.currency)}")
        if self.kind != "membership" and self.payment_plan is not None and self.payment_plan.type == "subscription":
            raise ValueError("only a membership is paid by subscription")
        if self.kind == "membership":
            if self.tier is None:
                raise ValueError("a membership has a tier")
        elif self.tier is not None or self.annual_price is not None:
            raise ValueError("only a membership has a tier and an annual price")
        if self.projects and self.kind not in WITH_PROJECTS:
            raise ValueError(f"only {', '.join(WITH_PROJECTS)} have projects")
        if self.kind == "bundle":
            if info.context != WITHOUT_PARTS:
                self._check_parts()
        elif self.includes:
            raise ValueError("only a bundle includes others")
        return self

    def _check_parts(self) -> None:
        if len(self.includes) > MOST_PARTS:
            raise ValueError(f"a bundle includes at most {MOST_PARTS} items")
        if len(self.includes) < 2 or len({part.id for part in self.includes}) < len(self.includes):
            raise ValueError("a bundle includes two items or more, each once")
        if any(part.kind in ("bundle", "membership") for part in self.includes):
            raise ValueError("a bundle includes neither bundles nor memberships")
        if any(part.currency != self.currency for part in self.includes):
            raise ValueError("a bundle and its parts have one currency")

    @property
    def on_sale(self) -> bool:
        """A bundle is on sale if all of its parts are."""
        return self.active and all(part.active for part in self.includes)

    @property
    def money(self) -> Money:
        return Money(amount=self.price, currency=self.currency)

    @property
    def funding_amount(self) -> Money:
        """What a sponsor pays. The flat amount applies in its own currency only."""
        if self.total_cost is not None:
            return Money(amount=self.total_cost, currency=self.currency)
        return FUNDING_WITHOUT_COST if self.currency == FUNDING_WITHOUT_COST.currency else self.money

    @property
    def annual(self) -> Money | None:
        return None if self.annual_price is None else Money(amount=self.annual_price, currency=self.currency)

    @property
    def parts_price(self) -> Money:
        """The sum of the prices of a bundle's parts."""
        return sum((part.money for part in self.includes), start=Money(amount=0, currency=self.currency))

    @property
    def saving(self) -> Money | None:
        """How much less a bundle costs than its parts; None if it does not."""
        saved = self.parts_price - self.money
        return saved if self.includes and saved.amount > 0 else None

    @property
    def enrollment_slug(self) -> str:
        """The slug of the enrollment that it gives: a student has one membership, of any tier."""
        return MEMBERSHIP if self.kind == "membership" else self.slug

    def as_program(self, *, id: str | None = None) -> Program:
        """As events describe it. `id`: another system's id for it."""
        return Program(
            slug=self.enrollment_slug,
            id=id or str(self.id),
            name=self.name,
            provider=self.provider,
            kind=self.kind,
            untaught=None if self.taught else True,
            includes=tuple(part.as_ref() for part in self.includes),
        )

    def as_ref(self) -> ItemRef:
        return ItemRef(
            slug=self.enrollment_slug,
            id=str(self.id),
            name=self.name,
            provider=self.provider,
            kind=self.kind,
            untaught=None if self.taught else True,
        )


class Sponsor(BaseModel):
    """Who pays instead of a student, and where the bills are sent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str = Field(pattern=CODE, max_length=50)
    name: str = Field(min_length=1, max_length=200)
    finance_email: str | None = None
    active: bool = True
