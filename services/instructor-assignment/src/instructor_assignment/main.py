"""Composition root of instructor-assignment: builds each role's process from its settings."""

from __future__ import annotations

from fastapi import FastAPI

import instructor_assignment
from instructor_assignment import consumers
from instructor_assignment.api import router
from instructor_assignment.settings import ApiSettings, WorkerSettings
from instructor_assignment.topology import PUBLISHES, QUEUES, SERVICE
from kit.runtime.process import Process, Role
from kit.runtime.service import api_process, consumers_process, create_api, migrate_service, relay_process


def app(settings: ApiSettings) -> FastAPI:
    return create_api(
        SERVICE,
        description=instructor_assignment.__doc__,
        routers=[router],
        consumers=[consumers.payments()],
        publishes=PUBLISHES,
        settings=settings,
    )


def api() -> Process:
    settings = ApiSettings()
    return api_process(app(settings), settings)


def consume() -> Process:
    settings = WorkerSettings()
    return consumers_process(SERVICE, settings, [consumers.payments(settings.policy)], QUEUES)


def relay() -> Process:
    return relay_process(SERVICE, WorkerSettings())


def migrate() -> None:
    migrate_service(WorkerSettings(), instructor_assignment.__file__, QUEUES)


ROLES: dict[str, Role] = {"api": api, "consumers": consume, "relay": relay, "migrate": migrate}
