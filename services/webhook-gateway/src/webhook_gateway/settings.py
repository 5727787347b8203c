"""What webhook-gateway is told by its environment."""

from __future__ import annotations

from pydantic import SecretStr, field_validator

from kit.runtime.service import WorkerSettings


class ApiSettings(WorkerSettings):
    """`STRIPE_WEBHOOK_SECRETS`: comma separated, because a secret that is being rolled is two for a while."""

    stripe_webhook_secrets: SecretStr

    @field_validator("stripe_webhook_secrets")
    @classmethod
    def _at_least_one(cls, value: SecretStr) -> SecretStr:
        if not any(part.strip() for part in value.get_secret_value().split(",")):
            raise ValueError("at least one secret is needed")
        return value

    @property
    def secrets(self) -> tuple[bytes, ...]:
        parts = self.stripe_webhook_secrets.get_secret_value().split(",")
        return tuple(part.strip().encode() for part in parts if part.strip())


RelaySettings = WorkerSettings
