"""Settings from the environment. Secrets have no defaults; each setting may be read from a file, see `FileSource`."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import limits
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from kit.runtime.production import refused_values

CommaSeparated = Annotated[tuple[str, ...], NoDecode]


class FileSource(PydanticBaseSettingsSource):
    """`JWT_SECRET_FILE=/run/secrets/jwt` instead of `JWT_SECRET`, and so for every setting: the file's text, without
    the end of its last line. A variable that is empty counts as not set beside the file."""

    def __call__(self) -> dict[str, Any]:  # Any: as in the base class
        """Raises SettingsError if a file cannot be read, or both variables are set."""
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[str | None, str, bool]:
        """The file's text, or None; the field's name; and that the text is not JSON."""
        variable = f"{field_name.upper()}_FILE"
        if not (path := os.environ.get(variable)):
            return None, field_name, False
        if os.environ.get(field_name.upper()):
            raise SettingsError(f"set {field_name.upper()} or {variable}, not both")
        try:
            return Path(path).read_text(encoding="utf-8").removesuffix("\n"), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{variable} cannot be read ({type(error).__name__})") from None


class Settings(BaseSettings):
    """Settings of every process: log level, and the addresses of its HTTP endpoints.

    internal_host, internal_port: health with reasons, metrics and documents of the API, for operators alone.
    """

    model_config = SettingsConfigDict(extra="ignore", hide_input_in_errors=True)

    bursar_env: Literal["production", "development"] = "production"
    """`development` accepts public secrets, sandboxes and test mode."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    http_host: str = "127.0.0.1"
    http_port: int = 8000
    internal_host: str = "127.0.0.1"
    internal_port: int = 8001
    trusted_proxies: CommaSeparated = ("127.0.0.1", "::1")
    """Addresses or networks whose X-Forwarded-For is believed: limits and the audit trail name the client's address.
    `*`, for development: all."""

    @property
    def reported(self) -> Mapping[str, str]:
        """What /readyz says of these settings, so that processes that must agree can be compared."""
        return {}

    def refused_in_production(self) -> Iterator[str]:
        """Each setting that is wrong where real money is taken, with the reason. Classes add their own."""
        yield from refused_values(self)
        if any(each == "*" or ipaddress.ip_network(each).prefixlen == 0 for each in self.trusted_proxies):
            yield "TRUSTED_PROXIES believes everybody's X-Forwarded-For"

    @model_validator(mode="after")
    def _two_ports(self) -> Self:
        if self.internal_port == self.http_port:
            raise ValueError("INTERNAL_PORT must differ from HTTP_PORT")
        return self

    @model_validator(mode="after")
    def _production(self) -> Self:
        if self.bursar_env == "production" and (refused := list(self.refused_in_production())):
            raise ValueError(f"BURSAR_ENV is production (the default), which refuses: {'; '.join(refused)}")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, FileSource(settings_cls), env_settings

    @field_validator("*", mode="before")
    @classmethod
    def _split_commas(cls, value: object, info: object) -> object:
        field = cls.model_fields.get(getattr(info, "field_name", ""))
        if isinstance(value, str) and field is not None and NoDecode in field.metadata:
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """uvicorn compares anything else with the text of the client's address, and never finds it."""
        if value != ("*",):
            for each in value:
                ipaddress.ip_network(each)
        return value


class DatabaseSettings(Settings):
    """`postgresql://login:password@host:port/database`, with the login of this process's role."""

    database_url: SecretStr
    database_pool_size: int = 10


class BrokerSettings(Settings):
    """`amqp://user:password@host:port/vhost`, with the service's login; of the role migrate, the deployment's."""

    amqp_url: SecretStr
    amqp_operator: str = "deployment"
    """The deployment's login. Consumers accept everything that it publishes."""
    accept_unsigned_events: bool = False
    """Accept events that do not name their publisher: while processes of an earlier version still publish."""


class RetentionSettings(Settings):
    """How long what is done is kept. Messages and inbox are dropped by the month, so up to a month longer.

    keep_outbox_days: published messages, recognized if the same is published again.
    keep_inbox_days: longer than the 30 days for which Stripe lists events, so that a replayed event is recognized.
    keep_idempotency_hours: Idempotency-Keys; Stripe keeps them for a day.
    keep_job_payloads_days: payloads of done jobs, which may contain personal data.
    keep_jobs_days: finished jobs. A job that is enqueued again after that is done again, so longer than events are kept
    for replay.
    """

    keep_outbox_days: int = Field(default=30, ge=7)
    keep_inbox_days: int = Field(default=45, ge=31)
    keep_idempotency_hours: int = Field(default=48, ge=24)
    keep_job_payloads_days: int = Field(default=30, ge=1)
    keep_jobs_days: int = Field(default=730, ge=90)


class LimitSettings(Settings):
    """How often one user, or one address without a token, may ask: `10/minute`, one limit; empty: without limit.

    rate_limit_money: what moves money or opens a session at Stripe.
    rate_limit_guesses: what says whether a code or a token exists.
    rate_limit_exports: a student's own export, of each service.
    rate_limit_redis_url: counts there for all processes together (`redis://:password@host:6379/0`); without it, each
    process counts for itself.
    """

    rate_limit_money: str = "10/minute"
    rate_limit_guesses: str = "30/minute"
    rate_limit_exports: str = "10/hour"
    rate_limit_redis_url: SecretStr | None = None

    @field_validator("rate_limit_money", "rate_limit_guesses", "rate_limit_exports")
    @classmethod
    def _limit(cls, value: str) -> str:
        if value and len(limits.parse_many(value)) != 1:
            raise ValueError("name one limit")
        return value

    @field_validator("rate_limit_redis_url", mode="before")
    @classmethod
    def _no_redis(cls, value: object) -> object:
        return value or None


class AuthSettings(Settings):
    """How bearer tokens are verified: with the keys at a JWKS URL (RS256, ES256), or with shared HS256 secrets.

    jwt_secrets: while a secret is rolled, as `kid=secret,kid=secret`; jwt_secret verifies tokens without one of these.
    jwt_max_age_seconds: after its `iat`, a token is refused whatever its `exp` says.
    jwt_jwks_max_age_seconds: for how long the identity provider may be down: keys that were fetched longer ago verify
    no token.
    """

    jwt_secret: SecretStr | None = None
    jwt_secrets: SecretStr | None = None
    jwt_jwks_url: str | None = None
    jwt_issuer: str
    jwt_audience: str
    jwt_max_age_seconds: int = Field(default=86_400, ge=60)
    jwt_jwks_max_age_seconds: int = Field(default=43_200, ge=600)
    cors_origins: CommaSeparated = ()

    @property
    def secrets_by_kid(self) -> Mapping[str, str]:
        """Raises ValueError."""
        pairs = [each.strip() for each in self.jwt_secrets.get_secret_value().split(",")] if self.jwt_secrets else []
        if not all(kid and secret for kid, _, secret in (pair.partition("=") for pair in pairs)):
            raise ValueError("JWT_SECRETS has the form kid=secret,kid=secret")
        return {kid: secret for kid, _, secret in (pair.partition("=") for pair in pairs)}

    @field_validator("jwt_secret", "jwt_secrets", "jwt_jwks_url", mode="before")
    @classmethod
    def _unset(cls, value: object) -> object:
        return value or None

    def refused_in_production(self) -> Iterator[str]:
        yield from super().refused_in_production()
        for name in ("jwt_secret", "jwt_secrets"):
            if getattr(self, name) is not None:
                yield f"{name.upper()} is for development: who verifies tokens with it can make them"
        if "*" in self.cors_origins:
            yield "CORS_ORIGINS allows every origin"

    @model_validator(mode="after")
    def _secret_or_jwks(self) -> Self:
        secrets = [*self.secrets_by_kid.values()]
        if self.jwt_secret is not None:
            secrets.append(self.jwt_secret.get_secret_value())
        if bool(secrets) == (self.jwt_jwks_url is not None):
            raise ValueError("set JWT_JWKS_URL, or for development JWT_SECRET or JWT_SECRETS")
        if any(len(secret.encode()) < 32 for secret in secrets):
            raise ValueError("JWT_SECRET and JWT_SECRETS must have at least 32 bytes each (RFC 7518, 3.2)")
        return self
