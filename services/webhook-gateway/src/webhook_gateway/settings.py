"""Settings of webhook-gateway, from environment variables."""

from __future__ import annotations

from pydantic import SecretStr, field_validator

from kit.runtime.service import WorkerSettings


class ApiSettings(WorkerSettings):
    """`STRIPE_WEBHOOK_SECRETS` is comma separated: while a secret is being rolled, two are valid."""

    stripe_webhook_secrets: SecretStr

    @field_validator("stripe_webhook_secrets")
    @classmethod
    def _at_least_one(cls, value: SecretStr) -> SecretStr:
        if not any(part.strip() for part in value.get_secret_value().split(",")):
            raise ValueError("at least one secret is required")
        return value

    @property
    def secrets(self) -> tuple[bytes, ...]:
        parts = self.stripe_webhook_secrets.get_secret_value().split(",")
        return tuple(part.strip().encode() for part in parts if part.strip())


RelaySettings = WorkerSettings
