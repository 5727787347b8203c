"""Composition root of webhook-gateway: builds its processes from settings."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

from fastapi import FastAPI

import webhook_gateway
from contracts.audit import Actor
from kit.db.database import Database
from kit.http.app import create_app
from kit.http.auth import Authenticator
from kit.messaging import audit
from kit.messaging.asyncapi import asyncapi_document
from kit.messaging.broker import Publisher
from kit.messaging.dead_letters import installed_queues
from kit.personal_data.erasure_requests import erasure_requests
from kit.runtime.backoff import Backoff
from kit.runtime.process import Command, Process, Role
from kit.runtime.service import consumers_process, database_of, migrate_service, relay_process
from webhook_gateway import consumers, retranslation
from webhook_gateway.admin import app as admin_app
from webhook_gateway.admin_context import AdminContext
from webhook_gateway.api import router
from webhook_gateway.context import GatewayContext
from webhook_gateway.erasures import PERSONAL
from webhook_gateway.fetcher import ONCE, RETENTION, Fetcher
from webhook_gateway.jobs import FETCH, FetchEvents
from webhook_gateway.journal import Journal
from webhook_gateway.object_reconciler import ComparedObjects, ObjectReconciler
from webhook_gateway.reconciler import Reconciled, Reconciler
from webhook_gateway.relay import JournalRelay
from webhook_gateway.retranslation import Retranslated
from webhook_gateway.settings import (
    AdminSettings,
    ApiSettings,
    ReadingSettings,
    ReconcilerSettings,
    RelaySettings,
    WorkerSettings,
)
from webhook_gateway.spill import SpillDrain
from webhook_gateway.tables import Source
from webhook_gateway.topology import ERASURES, FETCHES, PUBLISHES, QUEUES, REQUESTS, SERVICE, SPILL
from webhook_gateway.webhook import WebhookEndpoint

OPERATOR = "who you are, for the audit trail; default: this user"


def app(context: GatewayContext | None = None) -> FastAPI:
    """The HTTP app. Without a context it serves only its documents."""
    created = create_app(
        package="webhook_gateway",
        title=SERVICE,
        description=webhook_gateway.__doc__ or "",
        tags={"stripe": "Where Stripe delivers its events."},
        routers=[router],
        checks={"a store": context.check_stores} if context else {},
        asyncapi=partial(
            asyncapi_document,
            title=SERVICE,
            routers=[consumers.fetches(), erasure_requests(ERASURES), consumers.event_requests()],
            publishes=PUBLISHES,
        ),
    )
    if context is not None:
        created.add_middleware(WebhookEndpoint, context=context)
    return created


def api() -> Process:
    settings = ApiSettings()
    context = GatewayContext(
        secrets=settings.secrets,
        origin=settings.origin,
        journal=Journal(settings.database_url.get_secret_value()),
        publisher=Publisher(settings.amqp_url.get_secret_value(), name=f"{SERVICE}.api"),
    )
    return Process(settings=settings, app=app(context), close=[context.journal.close, context.publisher.close])


def consume() -> Process:
    routers = [consumers.fetches(), erasure_requests(ERASURES), consumers.event_requests()]
    return consumers_process(SERVICE, WorkerSettings(), routers, [FETCHES, ERASURES, REQUESTS])


def relay() -> Process:
    settings = RelaySettings()
    database = database_of(settings)
    amqp_url = settings.amqp_url.get_secret_value()
    publisher = Publisher(amqp_url, name=f"{SERVICE}.journal")
    deliveries, fetched, unsigned = (
        Journal(settings.database_url.get_secret_value(), source=source)
        for source in (Source.WEBHOOK, Source.FETCHED, Source.PREVIOUS)
    )
    journal_relay = JournalRelay(
        database,
        publisher,
        secrets=settings.journal_secrets,
        replays_per_second=settings.replays_per_second,
        keep=timedelta(days=settings.journal_keep_days),
    )
    spill_drain = SpillDrain(amqp_url, deliveries, unsigned, operator=settings.amqp_operator)
    fetcher = _fetcher(settings)
    return relay_process(
        SERVICE,
        settings,
        {FETCH: FetchEvents(fetcher, fetched, settings.origin)},
        background=[
            journal_relay.run,
            journal_relay.run_replay,
            journal_relay.measure,
            journal_relay.maintain,
            spill_drain.run,
        ],
        queues=[SPILL],
        personal=PERSONAL,
        own_queues=QUEUES,
        close=[
            publisher.close,
            deliveries.close,
            fetched.close,
            unsigned.close,
            database.close,
            fetcher.close,
        ],
    )


def reconciler() -> Process:
    settings = ReconcilerSettings()
    database, fetcher, journal = _reconciled(settings)
    reconciler = _reconciler(settings, database, fetcher, journal)
    objects = _object_reconciler(settings, database, fetcher, journal, reconciler)
    return Process(
        settings=settings,
        background=[reconciler.run, objects.run],
        checks={"database": database.ping},
        close=[fetcher.close, journal.close, database.close],
    )


def admin() -> Process:
    settings = AdminSettings()
    database, fetcher, journal = _reconciled(settings)
    reconciler = _reconciler(settings, database, fetcher, journal)
    objects = _object_reconciler(settings, database, fetcher, journal, reconciler)

    async def compare(since: datetime, until: datetime | None, actor: Actor) -> tuple[Reconciled, ComparedObjects]:
        events = await reconciler.restore_all(since=since, until=until, actor=actor)
        return events, await objects.compare_all(since=since, until=until)

    context = AdminContext(
        database=database,
        amqp_url=settings.amqp_url.get_secret_value(),
        queues=tuple(installed_queues()),
        reconcile=compare,
        target_webhook_delivery=settings.target_webhook_delivery,
    )
    authenticator = Authenticator(settings)
    return Process(
        settings=settings,
        app=admin_app(context, authenticator),
        dependencies={"clock": database.check_clock, "token keys": authenticator.check},
        close=[fetcher.close, journal.close, database.close],
    )


def reconcile(arguments: Sequence[str]) -> int:
    """Journals the events of a period that Stripe lists and the journal does not have, and compares Stripe's objects of
    the period, however old, with what was published about them. The relay publishes what is restored.

    Exit code 1: something cannot be journaled, or an object differs."""
    parser = argparse.ArgumentParser(prog="python -m webhook_gateway reconcile", description=reconcile.__doc__)
    parser.add_argument("--since", type=_time, help="when they were created, ISO 8601; 30 days ago if not given")
    parser.add_argument("--until", type=_time, help="before when they were created; now if not given")
    parser.add_argument("--operator", metavar="NAME", help=OPERATOR)
    period = parser.parse_args(arguments)
    if period.until and period.until > datetime.now(UTC):
        parser.error("--until is in the future")
    settings = ReconcilerSettings()
    since = period.since or datetime.now(UTC) - RETENTION

    async def run() -> tuple[Reconciled, ComparedObjects]:
        database, fetcher, journal = _reconciled(settings)
        try:
            reconciler = _reconciler(settings, database, fetcher, journal)
            await reconciler.check_endpoint()
            actor = audit.operator(period.operator)
            events = await reconciler.restore_all(since=since, until=period.until, actor=actor)
            objects = _object_reconciler(settings, database, fetcher, journal, reconciler)
            return events, await objects.compare_all(since=since, until=period.until)
        finally:
            await fetcher.close()
            await journal.close()
            await database.close()

    events, objects = asyncio.run(run())
    sys.stdout.write(f"{SERVICE}: {events}\n{objects}\n")
    return 1 if events.conflicts or events.refused or objects.refused or objects.differing else 0


def retranslate(arguments: Sequence[str]) -> int:
    """Compares what was published for journaled events with what the translation of this version says, and publishes
    what an older one has ignored.

    Exit code 1: events were published otherwise. They are listed, and not published again.
    """
    parser = argparse.ArgumentParser(prog="python -m webhook_gateway retranslate", description=retranslate.__doc__)
    parser.add_argument("--since", type=_time, help="when they were received, ISO 8601; all if not given")
    parser.add_argument("--dry-run", action="store_true", help="publish nothing")
    parser.add_argument("--operator", metavar="NAME", help=OPERATOR)
    chosen = parser.parse_args(arguments)
    settings = WorkerSettings()

    async def run() -> Retranslated:
        database = database_of(settings)
        try:
            result = await retranslation.compare(database, since=chosen.since)
            if not chosen.dry_run:
                await retranslation.publish_ignored(database, result, actor=audit.operator(chosen.operator))
            return result
        finally:
            await database.close()

    result = asyncio.run(run())
    sys.stdout.writelines(f"published otherwise: {event_id} {type}\n" for event_id, type in result.changed)
    sys.stdout.write(f"{SERVICE}: {result}\n")
    return 1 if result.changed else 0


def _time(text: str) -> datetime:
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _fetcher(settings: ReadingSettings, *, patient: int | None = None) -> Fetcher:
    """`patient`: at most so many requests per second, and those that Stripe cannot answer are repeated."""
    return Fetcher(
        api_key=settings.stripe_api_key.get_secret_value(),
        base=settings.stripe_api_base,
        version=settings.stripe_api_version,
        account=settings.stripe_account,
        seconds=settings.stripe_timeout_seconds,
        backoff=Backoff(longest=timedelta(seconds=30), attempts=6) if patient else ONCE,
        requests_per_second=patient,
    )


def _reconciled(settings: ReconcilerSettings) -> tuple[Database, Fetcher, Journal]:
    return (
        database_of(settings),
        _fetcher(settings, patient=settings.reconcile_requests_per_second),
        Journal(settings.database_url.get_secret_value(), source=Source.FETCHED),
    )


def _reconciler(settings: ReconcilerSettings, database: Database, fetcher: Fetcher, journal: Journal) -> Reconciler:
    return Reconciler(
        database,
        fetcher,
        journal,
        origin=settings.origin,
        api_version=settings.stripe_api_version,
        webhook_url=settings.stripe_webhook_url,
        interval=timedelta(seconds=settings.reconcile_seconds),
        grace=timedelta(seconds=settings.reconcile_grace_seconds),
    )


def _object_reconciler(
    settings: ReconcilerSettings, database: Database, fetcher: Fetcher, journal: Journal, reconciler: Reconciler
) -> ObjectReconciler:
    return ObjectReconciler(
        database,
        fetcher,
        journal,
        origin=settings.origin,
        api_version=settings.stripe_api_version,
        restore_events=reconciler.restore_recent,
        interval=timedelta(seconds=settings.reconcile_objects_seconds),
        grace=timedelta(seconds=settings.reconcile_grace_seconds),
        lookback=timedelta(days=settings.reconcile_objects_days),
    )


def migrate() -> None:
    migrate_service(WorkerSettings(), webhook_gateway.__file__, QUEUES)


ROLES: dict[str, Role] = {
    "api": api,
    "consumers": consume,
    "relay": relay,
    "reconciler": reconciler,
    "admin": admin,
    "migrate": migrate,
}
COMMANDS: dict[str, Command] = {"reconcile": reconcile, "retranslate": retranslate}
