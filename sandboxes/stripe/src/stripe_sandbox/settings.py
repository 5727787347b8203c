"""Settings from `STRIPE_SANDBOX_*` environment variables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of a sandbox process. Times are in seconds of the sandbox clock unless stated otherwise."""

    model_config = SettingsConfigDict(env_prefix="STRIPE_SANDBOX_", extra="ignore")

    host: str = "127.0.0.1"
    port: int = 12111
    public_url: str = ""
    """Base URL of the hosted pages; empty for http://HOST:PORT."""

    secret_key: SecretStr = SecretStr("sk_test_bursar_sandbox")
    """The only accepted key, as bearer token or basic auth user. It protects nothing."""
    publishable_key: str = "pk_test_bursar_sandbox"
    api_version: str = "2026-10-28.endive"

    operator_token: Annotated[SecretStr, Field(min_length=8)] | None = None
    """The operator API and page ask for it; None: they are open."""

    webhook_url: str | None = None
    webhook_secret: SecretStr | None = None
    """With `webhook_url`, registers an endpoint for all events at startup."""

    time_factor: float = 1.0
    """Divides every real-time delay: retries, faults, automatic ACH settlement."""
    delivery_timeout: float = 10.0
    """Timeout of a delivery attempt in real seconds; not divided by `time_factor`."""
    delivery_concurrency: int = 1
    """Concurrent first attempts per endpoint. 1 preserves the order of events, which Stripe does not guarantee."""

    ach_settle_seconds: float | None = None
    """Delay until bank debits settle (divided by `time_factor`); None leaves it to the operator."""
    invoice_finalization_seconds: int = 3600
    """How long a renewal invoice stays a draft before it is finalized and charged."""
    after_last_retry: Literal["past_due", "unpaid", "canceled"] = "past_due"
    """Status of a subscription after its last retry failed (a Dashboard setting at Stripe)."""

    tax_basis_points: int = Field(default=700, ge=0, le=10_000)
    """Flat rate of Stripe Tax in hundredths of a percent, exclusive."""

    state_file: Path | None = None
    """Keeps the state over restarts; None for memory only."""

    log_level: str = "warning"

    @property
    def base_url(self) -> str:
        """The public URL without a trailing slash."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")
