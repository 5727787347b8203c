"""Composition root of milady-integration: builds each role's process from its settings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from fastapi import FastAPI

import milady_integration
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
from milady_integration import admin_api, api, consumers
from milady_integration.jobs import backoff_of, handlers
from milady_integration.milady_client import MiladyClient
from milady_integration.personal_data import PERSONAL
from milady_integration.projection import enrollments_of
from milady_integration.settings import ApiSettings, RelaySettings, WorkerSettings
from milady_integration.topology import CASELOAD, ERASURES, PUBLISHES, QUEUES, REQUESTS, SERVICE
from milady_integration.verification import comparisons


def app(settings: ApiSettings) -> FastAPI:
    return create_api(
        SERVICE,
        description=milady_integration.__doc__,
        routers=[api.router, admin_api.router, verification_api.router, export_router(PERSONAL)],
        consumers=[
            consumers.payments(),
            consumers.purchases(),
            caseload_events(CASELOAD),
            erasure_requests(ERASURES),
            event_requests(REQUESTS),
        ],
        publishes=PUBLISHES,
        tags={
            "milady": "Enrollments at the outside course provider.",
            "milady admin": "For admins: programs at the provider, and what is confirmed by hand.",
        },
        settings=settings,
    )


def serve() -> Process:
    settings = ApiSettings()
    return api_process(app(settings), settings)


def consume() -> Process:
    settings = WorkerSettings()
    payments = consumers.payments(settings.milady_mode, settings.policy)
    return consumers_process(
        SERVICE,
        settings,
        [
            payments,
            consumers.purchases(),
            caseload_events(CASELOAD),
            erasure_requests(ERASURES),
            event_requests(REQUESTS),
        ],
        QUEUES,
    )


def relay() -> Process:
    settings = RelaySettings()
    database = Database(settings.database_url.get_secret_value(), pool_size=settings.database_pool_size)
    client = None
    if settings.milady_mode == "api" and settings.milady_api_base and settings.milady_api_key:
        client = MiladyClient(str(settings.milady_api_base), settings.milady_api_key.get_secret_value())
    backoff = backoff_of(timedelta(seconds=settings.milady_retry_longest_seconds))
    jobs = handlers(database, client, settings.milady_mode, backoff)
    dependencies = {} if client is None else {"provider": client.check}
    close = [database.close, *([client.close] if client else [])]
    compared = comparisons(settings.policy, settings.milady_mode)
    verifier = Verifier(database, compared, service=SERVICE, every_seconds=settings.verify_every_seconds)
    return relay_process(
        SERVICE,
        settings,
        jobs,
        background=[verifier.run],
        dependencies=dependencies,
        personal=PERSONAL,
        own_queues=QUEUES,
        close=close,
    )


def migrate() -> None:
    migrate_service(WorkerSettings(), milady_integration.__file__, QUEUES)


def refold(arguments: Sequence[str]) -> int:
    """Brings the rows in line with the payment facts again: after a change of the policy, or of what facts mean."""

    def build() -> tuple[Database, Apply]:
        settings = WorkerSettings()
        return database_of(settings), enrollments_of(settings.policy, settings.milady_mode).apply_all

    return refold_command(SERVICE, arguments, build, pattern=enrollment_pattern)


def verify(arguments: Sequence[str]) -> int:
    """Compares the rows with the payment facts."""

    def build() -> tuple[Database, Sequence[Comparison]]:
        settings = WorkerSettings()
        return database_of(settings), comparisons(settings.policy, settings.milady_mode)

    return verify_command(SERVICE, arguments, build)


ROLES: dict[str, Role] = {"api": serve, "consumers": consume, "relay": relay, "migrate": migrate}
COMMANDS: dict[str, Command] = {"refold": refold, "verify": verify}
