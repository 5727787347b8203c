"""Composition root of instructor-assignment: builds each role's process from its settings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from fastapi import FastAPI

import instructor_assignment
from instructor_assignment import chat_api, consumers
from instructor_assignment.api import router
from instructor_assignment.chat import Chat
from instructor_assignment.chat_repository import chat_expiries
from instructor_assignment.personal_data import PERSONAL
from instructor_assignment.projection import assignments_of
from instructor_assignment.settings import ApiSettings, WorkerSettings
from instructor_assignment.topology import CASELOAD, ERASURES, PUBLISHES, QUEUES, REQUESTS, SERVICE
from instructor_assignment.verification import comparisons
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
    made = create_api(
        SERVICE,
        description=instructor_assignment.__doc__,
        routers=[router, chat_api.router, verification_api.router, export_router(PERSONAL)],
        consumers=[
            consumers.payments(),
            caseload_events(CASELOAD),
            erasure_requests(ERASURES),
            event_requests(REQUESTS),
        ],
        publishes=PUBLISHES,
        tags={
            "chat": "Questions of a student to their own instructor.",
            "instructors": "AI instructors, and who has which.",
        },
        settings=settings,
    )
    made.state.chat = Chat(made.state.database, settings)
    return made


def api() -> Process:
    settings = ApiSettings()
    made = app(settings)
    return api_process(made, settings, close=[made.state.chat.close])


def consume() -> Process:
    settings = WorkerSettings()
    routers = [
        consumers.payments(settings.policy),
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
        SERVICE,
        settings,
        background=[verifier.run],
        expiries=chat_expiries(timedelta(days=settings.keep_chat_days)),
        personal=PERSONAL,
        own_queues=QUEUES,
        close=[database.close],
    )


def migrate() -> None:
    migrate_service(WorkerSettings(), instructor_assignment.__file__, QUEUES)


def refold(arguments: Sequence[str]) -> int:
    """Brings the rows in line with the payment facts again: after a change of the policy, or of what facts mean."""

    def build() -> tuple[Database, Apply]:
        settings = WorkerSettings()
        return database_of(settings), assignments_of(settings.policy).apply_all

    return refold_command(SERVICE, arguments, build, pattern=enrollment_pattern)


def verify(arguments: Sequence[str]) -> int:
    """Compares the rows with the payment facts."""

    def build() -> tuple[Database, Sequence[Comparison]]:
        settings = WorkerSettings()
        return database_of(settings), comparisons(settings.policy)

    return verify_command(SERVICE, arguments, build)


ROLES: dict[str, Role] = {"api": api, "consumers": consume, "relay": relay, "migrate": migrate}
COMMANDS: dict[str, Command] = {"refold": refold, "verify": verify}
