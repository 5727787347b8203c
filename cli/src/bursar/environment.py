"""Where the installation is: addresses and credentials, from variables or from the file of `make serve`."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


class NotConfigured(Exception):
    """A setting that the command needs is missing."""


class Environment(BaseSettings):
    """admin_url: of the gateway's admin API; health: JSON, process name -> base URL of every process; token: an
    admin's."""

    model_config = SettingsConfigDict(env_prefix="BURSAR_", extra="ignore", hide_input_in_errors=True)

    checkout_url: str | None = None
    enrollment_url: str | None = None
    instructor_assignment_url: str | None = None
    milady_integration_url: str | None = None
    notifications_url: str | None = None
    reporting_url: str | None = None
    admin_url: str | None = None
    health: dict[str, str] = {}
    token: SecretStr | None = None

    @classmethod
    def load(cls, stack: Path | None) -> Environment:
        """From `stack`, the stack.json of `make serve`, else from BURSAR_* variables. Raises NotConfigured."""
        try:
            if stack is None:
                return cls()
            found = json.loads(stack.read_text())
            return cls(
                checkout_url=found["checkout"],
                enrollment_url=found["enrollment"],
                instructor_assignment_url=found["instructor_assignment"],
                milady_integration_url=found["milady_integration"],
                notifications_url=found["notifications"],
                reporting_url=found["reporting"],
                admin_url=found["webhook_gateway_admin"],
                health=found["health"],
                token=SecretStr(found["tokens"]["admin"]),
            )
        except ValidationError as error:
            names = ", ".join(f"BURSAR_{e['loc'][0]}".upper() if e["loc"] else "settings" for e in error.errors())
            raise NotConfigured(f"invalid: {names}") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NotConfigured(f"{stack} is not the stack.json of a running stack ({type(error).__name__})") from None

    def url_of(self, service: str) -> str:
        """Raises NotConfigured if it is not set."""
        url: str | None = getattr(self, f"{service}_url")
        if not url:
            raise NotConfigured(f"set BURSAR_{service.upper()}_URL, or BURSAR_STACK to the stack.json of `make serve`")
        return url.rstrip("/")
