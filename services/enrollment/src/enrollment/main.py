"""Composition root of enrollment: builds each role's process from its settings."""

from __future__ import annotations

from fastapi import FastAPI

import enrollment
from enrollment import api as enrollments_api
from enrollment import consumers, progress_api
from enrollment.settings import ApiSettings, WorkerSettings
from enrollment.topology import PUBLISHES, QUEUES, SERVICE
from kit.runtime.process import Process, Role
from kit.runtime.service import api_process, consumers_process, create_api, migrate_service, relay_process


def app(settings: ApiSettings) -> FastAPI:
    return create_api(
        SERVICE,
        description=enrollment.__doc__,
        routers=[enrollments_api.router, progress_api.router],
        consumers=[consumers.payments(), consumers.catalog()],
        publishes=PUBLISHES,
        settings=settings,
    )


def api() -> Process:
    settings = ApiSettings()
    return api_process(app(settings), settings)


def consume() -> Process:
    settings = WorkerSettings()
    return consumers_process(SERVICE, settings, [consumers.payments(settings.policy), consumers.catalog()], QUEUES)


def relay() -> Process:
    return relay_process(SERVICE, WorkerSettings())


def migrate() -> None:
    migrate_service(WorkerSettings(), enrollment.__file__, QUEUES)


ROLES: dict[str, Role] = {"api": api, "consumers": consume, "relay": relay, "migrate": migrate}
