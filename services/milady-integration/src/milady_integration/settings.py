"""The settings of milady-integration, read from the environment."""

from __future__ import annotations

from pydantic import AnyHttpUrl, Field, SecretStr, model_validator

from kit.runtime import service
from ledger.policy import PolicySettings
from milady_integration.domain import Mode


class WorkerSettings(PolicySettings, service.WorkerSettings):
    """Consumers and migrate.

    MILADY_MODE: `api`, or `manual` if the provider has no API (an admin exports a list and confirms by hand).
    """

    milady_mode: Mode = "api"


class RelaySettings(WorkerSettings):
    """The relay is the only process that calls Milady, so the only one with the API key.

    MILADY_RETRY_LONGEST_SECONDS: the longest delay between two attempts of a job.
    """

    milady_api_base: AnyHttpUrl | None = None
    milady_api_key: SecretStr | None = None
    milady_retry_longest_seconds: float = Field(default=300.0, ge=0.1, le=3600.0)

    @model_validator(mode="after")
    def _api_is_configured(self) -> RelaySettings:
        if self.milady_mode == "api" and (self.milady_api_base is None or self.milady_api_key is None):
            raise ValueError("set MILADY_API_BASE and MILADY_API_KEY, or MILADY_MODE=manual")
        return self


class ApiSettings(service.ApiSettings):
    milady_mode: Mode = "api"
