"""What a school does when money stops or goes back: one file, the same for every service."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Policy(BaseModel):
    """The defaults are those of `deploy/policy.toml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    past_due_pauses: bool = True
    full_refund_withdraws: bool = True
    full_refund_percent: int = Field(default=95, ge=1, le=100)
    lost_dispute_withdraws: bool = True

    @property
    def hash(self) -> str:
        """Names this policy in /readyz: two services that answer differently would decide differently."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    @classmethod
    def load(cls, path: Path) -> Policy:
        """Reads a TOML file. Raises OSError, tomllib.TOMLDecodeError or pydantic.ValidationError."""
        return cls.model_validate(tomllib.loads(path.read_text()))


DEFAULT_POLICY = Policy()


class PolicySettings(BaseModel):
    """Mix-in for the settings of a service that acts on standings: POLICY_FILE, or the default policy without it.

    It comes first among the bases, so that /readyz reports the policy's hash.
    """

    policy_file: Path | None = Field(default=None, description="a TOML file; every service reads the same one")

    @model_validator(mode="after")
    def _read_policy(self) -> Self:
        """At start, so that a missing or invalid file is reported like any other setting."""
        try:
            _ = self.policy
        except (OSError, ValueError) as error:
            raise ValueError(f"POLICY_FILE cannot be read: {error}") from None
        return self

    @cached_property
    def policy(self) -> Policy:
        return DEFAULT_POLICY if self.policy_file is None else Policy.load(self.policy_file)

    @property
    def reported(self) -> Mapping[str, str]:
        return {"policy": self.policy.hash}
