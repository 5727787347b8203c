"""Composition root of webhook-gateway: builds its processes from settings."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from fastapi import FastAPI

import webhook_gateway
from kit.http.app import create_app
from kit.messaging.asyncapi import asyncapi_document
from kit.messaging.broker import Publisher
from kit.runtime.process import Process, Role
from kit.runtime.service import consumers_process, database_of, migrate_service, relay_process
from webhook_gateway import consumers
from webhook_gateway.api import router
from webhook_gateway.context import GatewayContext
from webhook_gateway.fetcher import Fetcher
from webhook_gateway.jobs import FETCH, FetchEvents
from webhook_gateway.journal import Journal
from webhook_gateway.relay import JournalRelay
from webhook_gateway.settings import ApiSettings, RelaySettings, WorkerSettings
from webhook_gateway.spill import SpillDrain
from webhook_gateway.tables import Source
from webhook_gateway.topology import FETCHES, PUBLISHES, QUEUES, SERVICE, SPILL
from webhook_gateway.webhook import WebhookEndpoint


def app(context: GatewayContext | None = None) -> FastAPI:
    """The HTTP app. Without a context it serves only its documents."""
    created = create_app(
        title=SERVICE,
        description=webhook_gateway.__doc__ or "",
        routers=[router],
        checks={"a store": context.check_stores} if context else {},
        asyncapi=partial(asyncapi_document, title=SERVICE, routers=[consumers.fetches()], publishes=PUBLISHES),
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
    return consumers_process(SERVICE, WorkerSettings(), [consumers.fetches()], [FETCHES])


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
    fetcher = Fetcher(
        api_key=settings.stripe_api_key.get_secret_value(),
        base=settings.stripe_api_base,
        version=settings.stripe_api_version,
        account=settings.stripe_account,
        seconds=settings.stripe_timeout_seconds,
    )
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
        close=[
            publisher.close,
            deliveries.close,
            fetched.close,
            unsigned.close,
            database.close,
            fetcher.close,
        ],
    )


def migrate() -> None:
    migrate_service(WorkerSettings(), webhook_gateway.__file__, QUEUES)


ROLES: dict[str, Role] = {"api": api, "consumers": consume, "relay": relay, "migrate": migrate}
