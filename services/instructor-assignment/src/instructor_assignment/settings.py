"""What instructor-assignment is told by its environment."""

from __future__ import annotations

from kit.runtime import service
from ledger.policy import PolicySettings


class WorkerSettings(service.WorkerSettings, PolicySettings):
    """Consumers, relay and migrate."""


ApiSettings = service.ApiSettings
