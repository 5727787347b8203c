"""The settings of instructor-assignment, read from the environment."""

from __future__ import annotations

from kit.runtime import service
from ledger.policy import PolicySettings


class WorkerSettings(PolicySettings, service.WorkerSettings):
    """Consumers, relay and migrate."""


ApiSettings = service.ApiSettings
