"""What enrollment is told by its environment."""

from __future__ import annotations

from contracts.facts import PolicySettings
from kit import service


class WorkerSettings(service.WorkerSettings, PolicySettings):
    """Consumers, relay and migrate."""


ApiSettings = service.ApiSettings
