"""The settings of reporting."""

from __future__ import annotations

from pydantic import Field

from kit.runtime import service


class WorkerSettings(service.WorkerSettings):
    """Consumers, relay and migrate."""


class RelaySettings(WorkerSettings):
    """keep_events_days: older months of events are dropped. Audit records are kept forever."""

    keep_events_days: int = Field(default=7 * 366, ge=60)


ApiSettings = service.ApiSettings
