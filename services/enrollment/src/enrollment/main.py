"""Composition root of enrollment: builds each role's process from its settings."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI

import enrollment
from enrollment import api as enrollments_api
from enrollment import consumers, progress_api
from enrollment.personal_data import PERSONAL
from enrollment.projection import enrollments_of
from enrollment.settings import ApiSettings, WorkerSettings
from enrollment.topology import CASELOAD, ERASURES, PUBLISHES, QUEUES, REQUESTS, SERVICE
from enrollment.verification import comparisons
from kit.db.database import Database
from kit.http import verification as verification_api
from kit.http.export import export_router
from kit.messaging.caseload import caseload_events
from kit.messaging.event_requests import event_requests
from kit.messaging.refold import Apply, refold_command
from kit.messaging.verification import Comparison
from kit.messaging.verification_runs import Verifier, verify_command
from kit.personal_data.erasure_requests import erasure_requests
from kit.runtime.process import Command, Process, Role
from kit.runtime.service import api_process, consumers_process, create_api, database_of, migrate_service, relay_process
from ledger.facts import enrollment_pattern


def app(settings: ApiSettings) -> FastAPI:
    return create_api(
        SERVICE,
        description=enrollment.__doc__,
        routers=[enrollments_api.router, progress_api.router, verification_api.router, export_router(PERSONAL)],
        consumers=[
            consumers.payments(),
            consumers.catalog(),
            caseload_events(CASELOAD),
            erasure_requests(ERASURES),
            event_requests(REQUESTS),
        ],
        publishes=PUBLISHES,
        tags={
            "enrollments": "The places that students have in items, and their state.",
            "progress": "Steps of a track's projects that are done.",
        },
        settings=settings,
    )


def api() -> Process:
    settings = ApiSettings()
    return api_process(app(settings), settings)


def consume() -> Process:
    settings = WorkerSettings()
    routers = [
        consumers.payments(settings.policy),
        consumers.catalog(),
        caseload_events(CASELOAD),
        erasure_requests(ERASURES),
        event_requests(REQUESTS),
    ]
    return consumers_process(SERVICE, settings, routers, QUEUES)


def relay() -> Process:
    settings = WorkerSettings()
    database = database_of(settings)
    seconds = settings.verify_every_seconds
    verifier = Verifier(database, comparisons(settings.policy), service=SERVICE, every_seconds=seconds)
    return relay_process(
        SERVICE, settings, background=[verifier.run], personal=PERSONAL, own_queues=QUEUES, close=[database.close]
    )


def migrate() -> None:
    migrate_service(WorkerSettings(), enrollment.__file__, QUEUES)


def refold(arguments: Sequence[str]) -> int:
    """Brings the rows in line with the payment facts again: after a change of the policy, or of what facts mean."""

    def build() -> tuple[Database, Apply]:
        settings = WorkerSettings()
        return database_of(settings), enrollments_of(settings.policy).apply_all

    return refold_command(SERVICE, arguments, build, pattern=enrollment_pattern)


def verify(arguments: Sequence[str]) -> int:
    """Compares the rows with the payment facts."""

    def build() -> tuple[Database, Sequence[Comparison]]:
        settings = WorkerSettings()
        return database_of(settings), comparisons(settings.policy)

    return verify_command(SERVICE, arguments, build)


ROLES: dict[str, Role] = {"api": api, "consumers": consume, "relay": relay, "migrate": migrate}
COMMANDS: dict[str, Command] = {"refold": refold, "verify": verify}
