"""Settings from `MILADY_SANDBOX_*` environment variables."""

from __future__ import annotations

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="MILADY_SANDBOX_", extra="ignore")

    host: str = "127.0.0.1"
    port: int = 12112
    public_url: str = ""
    """Base URL of the course pages; empty for http://HOST:PORT."""
    api_key: SecretStr = SecretStr("milady_test_bursar_sandbox")
    """The only accepted bearer key. It protects nothing."""
    log_level: str = "warning"

    @property
    def base_url(self) -> str:
        """The public URL without a trailing slash."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")
