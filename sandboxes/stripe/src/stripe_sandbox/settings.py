"""What the sandbox is told from outside, all of it in `STRIPE_SANDBOX_*` environment variables."""

from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of one sandbox process. Times are seconds of the sandbox's own clock unless said otherwise."""

    model_config = SettingsConfigDict(env_prefix="STRIPE_SANDBOX_", extra="ignore")

    host: str = "127.0.0.1"
    port: int = 12111
    public_url: str = ""
    """Where a browser reaches the hosted pages; empty means http://HOST:PORT."""

    secret_key: SecretStr = SecretStr("sk_test_bursar_sandbox")
    """The one secret key that is accepted, as a bearer token or as the basic-auth user. It guards nothing real."""
    publishable_key: str = "pk_test_bursar_sandbox"
    api_version: str = "2026-10-28.endive"

    webhook_url: str | None = None
    webhook_secret: SecretStr | None = None
    """With `webhook_url`, registers one endpoint for all events at start."""

    time_factor: float = 1.0
    """Divides every wait that passes in real time: retry delays, hold times, automatic ACH settlement."""
    delivery_timeout: float = 10.0
    """Real seconds that a receiver has for its answer; not divided by `time_factor`."""
    delivery_concurrency: int = 1
    """First attempts under way at once per endpoint. One keeps Stripe's order, which Stripe itself does not promise."""

    ach_settle_seconds: float | None = None
    """Wait before a bank debit settles by itself (divided by `time_factor`); none leaves it to the operator."""
    invoice_finalization_seconds: int = 3600
    """How long the draft of a renewal stays open before it is finalized and charged, as at Stripe."""
    after_last_retry: Literal["past_due", "unpaid", "canceled"] = "past_due"
    """What a subscription becomes when its last retry has failed (at Stripe: a dashboard setting)."""

    tax_basis_points: int = Field(default=700, ge=0, le=10_000)
    """The flat rate of Stripe Tax in hundredths of a percent, on top of the price (exclusive)."""

    log_level: str = "warning"

    @property
    def base_url(self) -> str:
        """The public URL without a trailing slash."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")
