"""Settings of checkout, from the environment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator

from checkout.cancellation_policy import cancellation_policy
from checkout.mail import Address
from checkout.reminder_days import reminder_days
from kit.runtime import service
from kit.runtime.settings import CommaSeparated, Settings
from ledger.policy import PolicySettings

_PRICE = re.compile(r"(.{1,50})/(month|year)=([^\s=]{1,255})")


class MembershipPriceSettings(BaseModel):
    """A mixin. For a tier that has no price here, one is created at Stripe when it is first bought."""

    stripe_price_student: str | None = None
    stripe_price_career: str | None = None
    stripe_price_student_annual: str | None = None
    stripe_price_career_annual: str | None = None
    stripe_prices: CommaSeparated = ()
    """For any other tier; takes precedence over the four above: `alumni/month=price_…, alumni/year=price_…`."""

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
            raise ValueError("each has the form tier/month=price id, or tier/year=price id")
        return value

    @model_validator(mode="after")
    def _one_price_for_each(self) -> MembershipPriceSettings:
        """A subscription's tier is read from its price: two tiers with one price could not be told apart."""
        prices = list(self.membership_prices.values())
        if len(prices) != len(set(prices)):
            raise ValueError("two memberships have the same Stripe price")
        return self

    @property
    def membership_prices(self) -> Mapping[tuple[str, str], str]:
        """(tier, interval) -> Stripe price id"""
        named: dict[tuple[str, str], str | None] = {
            ("student", "month"): self.stripe_price_student,
            ("career", "month"): self.stripe_price_career,
            ("student", "year"): self.stripe_price_student_annual,
            ("career", "year"): self.stripe_price_career_annual,
        }
        for each in self.stripe_prices:
            if (found := _PRICE.fullmatch(each)) is not None:
                tier, interval, price = found.groups()
                named[tier, interval] = price
        return {key: price for key, price in named.items() if price}


class StripeSettings(Settings, MembershipPriceSettings):
    """`stripe_api_base` is for a sandbox or a proxy; without it, Stripe's own URL is used."""

    stripe_api_key: SecretStr
    """Empty: Stripe is not used, and only payments that an admin records are accepted."""
    stripe_publishable_key: str = ""
    stripe_api_base: str | None = None
    stripe_api_version: str = "2026-10-28.endive"
    stripe_timeout_seconds: float = 8.0
    """Per attempt; a call with all its attempts gets two and a half times as long."""
    stripe_retries: int = 2
    test_clock: bool = False
    """Whether admins may advance the clock by which installments become due, for tests. API and relay share it."""

    def refused_in_production(self) -> Iterator[str]:
        yield from super().refused_in_production()
        for name, key in (
            ("STRIPE_API_KEY", self.stripe_api_key.get_secret_value()),
            ("STRIPE_PUBLISHABLE_KEY", self.stripe_publishable_key),
        ):
            if "_test_" in key[:9]:
                yield f"{name} is of Stripe's test mode"
        if self.test_clock:
            yield "TEST_CLOCK lets due dates be moved"

    @field_validator("stripe_api_base", mode="before")
    @classmethod
    def _no_base(cls, value: object) -> object:
        return value or None


class ApiSettings(service.ApiSettings, StripeSettings):
    frontend_url: str
    """The base of the success and cancel pages: `https://school.example` (a path is kept)."""
    public_url: str
    """Where payers reach this API, for the links in mails: `https://pay.school.example` (a path is kept)."""
    pay_link_secret: Annotated[SecretStr, Field(min_length=32)]
    """Makes the tokens of those links unguessable. With another secret, links that were mailed before end."""
    redirect_allowlist: CommaSeparated = ()
    """Origins that a payer may be redirected to; the front end's own must be one of them unless empty."""
    sponsor_finance_email: Address | None = None
    """Where to send the bills of a sponsor without a finance_email."""
    sponsor_terms_days: Annotated[int, Field(ge=1, le=365)] = 30
    """How long a sponsor has to pay an invoice."""
    allow_guest_checkout: bool = True
    guest_hold_minutes: Annotated[int, Field(ge=30, le=1_400)] = 30
    """How long a guest's page reserves a use of a promotion code. (Stripe's pages are open 30 minutes or longer.)"""
    stripe_tax: bool = False
    """Whether Stripe adds tax on its pages and invoices. Prices are then net."""
    terms_version: str = "1"
    """The terms that a buyer accepts by proceeding to the checkout of a course."""
    referral_percent: Annotated[int, Field(ge=1, le=50)] = 10
    """The discount of a student's referral code. (The database refuses a higher one, see revision 0004.)"""
    refund_window_days: int = Field(default=30, ge=0)
    """How long after the first payment its payer may refund a purchase without approval."""
    self_refund_max_progress: Annotated[int, Field(ge=0, le=100)] = 25
    """Up to which percentage of the curriculum a student may do so."""
    cancel_refund: str = "14:100,30:50"
    """What is refunded when the school cancels, as days:percent: up to that many days after the first payment, that
    percentage of what was paid; after the last one, nothing."""
    enrollment_open_days: Annotated[int, Field(ge=1, le=365)] = 7
    """How long an enrollment waits for its first installment."""

    @field_validator("sponsor_finance_email", mode="before")
    @classmethod
    def _no_mail(cls, value: object) -> object:
        return value or None

    @field_validator("cancel_refund")
    @classmethod
    def _policy(cls, value: str) -> str:
        cancellation_policy(value)
        return value

    @field_validator("frontend_url", "public_url")
    @classmethod
    def _absolute(cls, value: str) -> str:
        origin_of(value)
        return value.rstrip("/")

    @model_validator(mode="after")
    def _front_end_is_allowed(self) -> ApiSettings:
        allowed = {origin_of(origin) for origin in self.redirect_allowlist}
        if allowed and origin_of(self.frontend_url) not in allowed:
            raise ValueError("FRONTEND_URL is not on the REDIRECT_ALLOWLIST")
        return self


class RelaySettings(PolicySettings, service.WorkerSettings, StripeSettings):
    """The relay publishes events, performs the jobs at Stripe and runs the timers."""

    announce_days: Annotated[int, Field(ge=0, le=30)] = 3
    """How many days ahead an installment is announced to its payer; 0: not at all."""
    sponsor_reminder_days: str = "1,7,14"
    """When a sponsor is reminded of an unpaid invoice, in days after the due date. After the last one it is overdue."""
    missing_event_minutes: Annotated[int, Field(ge=1, le=1440)] = 30
    """How long something is open here before it is looked at in Stripe, in case its webhook was lost."""

    @field_validator("sponsor_reminder_days")
    @classmethod
    def _ascending_days(cls, value: str) -> str:
        reminder_days(value)
        return value


class WorkerSettings(PolicySettings, service.WorkerSettings):
    """Consumers and migrate."""

    late_payments: Literal["refund", "review"] = "refund"
    """What is done about money that arrives after its purchase has ended: it is sent back, or an admin decides."""
    unmatched_minutes: Annotated[int, Field(ge=0, le=1440)] = 10
    """How long a payment that names nobody waits for the event that matches it, before admins are alerted."""


def origin_of(url: str) -> str:
    """`https://host:port` of an absolute http(s) URL. Raises ValueError for anything else."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("not an absolute http(s) URL")
    return f"{parts.scheme}://{parts.netloc.lower()}"
