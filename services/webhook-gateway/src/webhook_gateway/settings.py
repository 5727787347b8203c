"""Settings of webhook-gateway, from environment variables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from kit.runtime import service
from kit.runtime.settings import AuthSettings, Settings
from webhook_gateway.event import Origin


class OriginSettings(Settings):
    """Whose events are accepted."""

    stripe_livemode: bool = True
    """Whether events are of live mode. With a sandbox or Stripe's test mode: false. Events of the other mode are
    refused, so that a payment with a test card never opens an enrollment."""
    stripe_account: str | None = None
    """For Stripe Connect: the connected account (`acct_…`) that events may come from, besides the endpoint's own."""

    def refused_in_production(self) -> Iterator[str]:
        yield from super().refused_in_production()
        if not self.stripe_livemode:
            yield "STRIPE_LIVEMODE accepts events of Stripe's test mode"

    @field_validator("stripe_account", mode="before")
    @classmethod
    def _no_account(cls, value: object) -> object:
        return value or None

    @property
    def origin(self) -> Origin:
        return Origin(livemode=self.stripe_livemode, account=self.stripe_account)


class SigningSettings(Settings):
    """`STRIPE_WEBHOOK_SECRETS` is comma separated: while a secret is being rolled, two are valid."""

    stripe_webhook_secrets: SecretStr

    @field_validator("stripe_webhook_secrets")
    @classmethod
    def _at_least_one(cls, value: SecretStr) -> SecretStr:
        if not _split(value):
            raise ValueError("at least one secret is required")
        return value

    @property
    def secrets(self) -> tuple[bytes, ...]:
        return _split(self.stripe_webhook_secrets)


def _split(secrets: SecretStr) -> tuple[bytes, ...]:
    parts = secrets.get_secret_value().split(",")
    return tuple(part.strip().encode() for part in parts if part.strip())


class ApiSettings(service.WorkerSettings, OriginSettings, SigningSettings):
    pass


class ReadingSettings(OriginSettings):
    """How Stripe's API is read. `stripe_api_base` is for a sandbox or a proxy; without it, Stripe's own URL is used."""

    stripe_api_key: SecretStr = SecretStr("")
    """A restricted key that may read events, webhook endpoints, sessions, payment intents, invoices and subscriptions,
    and for the reconciler charges, refunds, disputes and balance transactions.
    Empty: events that were not delivered are not fetched, which is logged as an error."""
    stripe_api_base: str = "https://api.stripe.com"
    stripe_api_version: str = "2026-10-28.endive"
    stripe_timeout_seconds: float = 8.0
    """Per request."""

    @field_validator("stripe_api_base", mode="before")
    @classmethod
    def _no_base(cls, value: object) -> object:
        return value or "https://api.stripe.com"

    @model_validator(mode="after")
    def _key_of_the_mode(self) -> Self:
        """Stripe's keys name their mode: sk_live_…, rk_test_… (https://docs.stripe.com/keys)."""
        other_mode = "_test_" if self.stripe_livemode else "_live_"
        if other_mode in self.stripe_api_key.get_secret_value()[:9]:
            raise ValueError("STRIPE_API_KEY is of the other mode than STRIPE_LIVEMODE says")
        return self


class ReconcilerSettings(service.WorkerSettings, ReadingSettings):
    """The reconciler compares the journal with Stripe's events, and looks at the webhook endpoint."""

    stripe_webhook_url: str = ""
    """The URL that the webhook endpoint at Stripe should have. Empty: any URL with a path that the gateway serves."""
    reconcile_seconds: float = Field(default=300, gt=0)
    """Between two comparisons, by all reconcilers together."""
    reconcile_grace_seconds: float = Field(default=120, ge=0)
    """How long an event may take to be delivered until it counts as lost."""
    reconcile_objects_seconds: float = Field(default=6 * 3600, gt=0)
    """Between two comparisons of Stripe's objects with what was published."""
    reconcile_objects_days: float = Field(default=35, gt=0)
    """How old the objects are that are compared in the background: more than the 30 days of Stripe's events."""
    reconcile_requests_per_second: int = Field(default=5, gt=0)
    """At most; Stripe accepts 100 of all clients together, in test mode 25 (https://docs.stripe.com/rate-limits)."""


class AdminSettings(ReconcilerSettings, AuthSettings):
    """The admin API. `amqp_url` has the deployment's login."""

    target_webhook_delivery: int = Field(default=9_900, ge=0, le=10_000)
    """The least share of events that are delivered and need not be fetched, in basis points: beside it the figure is
    shown."""


class RelaySettings(service.WorkerSettings, ReadingSettings, SigningSettings):
    """The relay publishes the journal, and fetches events that were not delivered."""

    stripe_webhook_old_secrets: SecretStr = SecretStr("")
    """Secrets that were rolled, separated by commas: events that they signed and that are still to be published, or are
    replayed, are verified with them. The API does not accept them."""
    replays_per_second: float = Field(default=50, gt=0)
    """Of all relays together. The consumers should keep up with so many events beside the live ones."""
    journal_keep_days: int = Field(default=7 * 366, ge=60)
    """Older months of the journal are dropped, and with them the personal data in Stripe's events."""

    @property
    def journal_secrets(self) -> tuple[bytes, ...]:
        return (*self.secrets, *_split(self.stripe_webhook_old_secrets))


WorkerSettings = service.WorkerSettings
"""Consumers and migrate."""
