"""Settings from `IDENTITY_SANDBOX_*` environment variables."""

from __future__ import annotations

from typing import Annotated

from pydantic import SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """
    public_url:    the issuer, and where browsers reach it; empty for http://HOST:PORT
    internal_url:  where the client and the services reach the token endpoint and the keys; empty for the public one
    redirect_uris: those of the client, compared exactly
    audience:      of access tokens
    private_key:   an RSA key as PEM; without it, a new one at each start
    """

    model_config = SettingsConfigDict(env_prefix="IDENTITY_SANDBOX_", extra="ignore")

    host: str = "127.0.0.1"
    port: int = 12113
    public_url: str = ""
    internal_url: str = ""
    client_id: str = "portal"
    client_secret: SecretStr = SecretStr("dev-only-identity-sandbox-client")
    redirect_uris: Annotated[tuple[str, ...], NoDecode] = ()
    audience: str = "bursar"
    token_seconds: int = 8 * 3600
    private_key: SecretStr | None = None
    log_level: str = "warning"

    @property
    def issuer(self) -> str:
        """Without a trailing slash."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")

    @property
    def internal(self) -> str:
        return (self.internal_url or self.issuer).rstrip("/")

    @field_validator("redirect_uris", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
