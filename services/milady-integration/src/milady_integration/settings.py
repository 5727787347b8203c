"""What milady-integration is told by its environment."""

from __future__ import annotations

from pydantic import AnyHttpUrl, Field, SecretStr, model_validator

from kit.runtime import service
from ledger.facts import PolicySettings
from milady_integration.domain import Mode


class WorkerSettings(service.WorkerSettings, PolicySettings):
    """Consumers and migrate.

    MILADY_MODE: `api`, or `manual` where the provider has none (an admin exports a list and confirms by hand).
    """

    milady_mode: Mode = "api"


class RelaySettings(WorkerSettings):
    """The relay is the only process that speaks to Milady, so the only one that has the key."""

    milady_api_base: AnyHttpUrl | None = None
    milady_api_key: SecretStr | None = None
    milady_retry_longest_seconds: float = Field(default=300.0, ge=0.1, le=3600.0)

    @model_validator(mode="after")
    def _the_api_is_reachable(self) -> RelaySettings:
        if self.milady_mode == "api" and (self.milady_api_base is None or self.milady_api_key is None):
            raise ValueError("set MILADY_API_BASE and MILADY_API_KEY, or MILADY_MODE=manual")
        return self


class ApiSettings(service.ApiSettings):
    milady_mode: Mode = "api"
