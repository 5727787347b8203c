"""Composition root: builds the processes from the settings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from fastapi import FastAPI

import notifications
from kit.db.database import Database
from kit.http import verification as verification_api
from kit.http.export import export_router
from kit.messaging.verification import Comparison
from kit.messaging.verification_runs import Verifier, verify_command
from kit.personal_data.erasure_requests import erasure_requests
from kit.runtime.process import Command, Process, Role
from kit.runtime.service import api_process, consumers_process, create_api, database_of, migrate_service, relay_process
from notifications import db, documents
from notifications.api import router
from notifications.consumers import consumers
from notifications.delivery import Delivery
from notifications.domain import Rules
from notifications.mailer import Mailer
from notifications.personal_data import PERSONAL
from notifications.renderer import Branding
from notifications.settings import ApiSettings, RelaySettings, WorkerSettings
from notifications.topology import ERASURES, PUBLISHES, QUEUES, SERVICE
from notifications.verification import comparisons
from notifications.webhook import Webhook


def app(settings: ApiSettings) -> FastAPI:
    return create_api(
        SERVICE,
        description=notifications.__doc__,
        routers=[router, export_router(PERSONAL), verification_api.router],
        consumers=[consumers(Rules()), erasure_requests(ERASURES)],
        publishes=PUBLISHES,
        tags={"notifications": "Messages that were sent, or could not be."},
        settings=settings,
    )


def api() -> Process:
    settings = ApiSettings()
    return api_process(app(settings), settings)


def consume() -> Process:
    settings = WorkerSettings()
    return consumers_process(SERVICE, settings, [consumers(settings.rules), erasure_requests(ERASURES)], QUEUES)


def relay() -> Process:
    settings = RelaySettings()
    database = database_of(settings)
    webhook = Webhook(settings.admin_webhook_url.get_secret_value()) if settings.admin_webhook_url else None
    mailer = Mailer(settings)
    delivery = Delivery(
        database,
        rules=settings.rules,
        mailer=mailer,
        webhook=webhook,
        branding=Branding.of(settings),
        admins=settings.admin_emails,
    )
    close = [database.close, *([webhook.close] if webhook else [])]
    seconds = settings.verify_every_seconds
    verifier = Verifier(database, comparisons(), service=SERVICE, every_seconds=seconds)
    expiries = [documents.expiry(timedelta(days=settings.keep_documents_days))]
    return relay_process(
        SERVICE,
        settings,
        {db.JOB_KIND: delivery},
        background=[verifier.run],
        expiries=expiries,
        personal=PERSONAL,
        own_queues=QUEUES,
        dependencies={"mail server": mailer.check},
        close=close,
    )


def migrate() -> None:
    migrate_service(WorkerSettings(), notifications.__file__, QUEUES)


def verify(arguments: Sequence[str]) -> int:
    """Compares the rows with what was received and published."""

    def build() -> tuple[Database, Sequence[Comparison]]:
        return database_of(WorkerSettings()), comparisons()

    return verify_command(SERVICE, arguments, build)


ROLES: dict[str, Role] = {"api": api, "consumers": consume, "relay": relay, "migrate": migrate}
COMMANDS: dict[str, Command] = {"verify": verify}
