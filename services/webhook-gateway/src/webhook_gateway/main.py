"""Composition root of webhook-gateway: builds its processes from settings."""

from __future__ import annotations

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
from webhook_gateway.relay import JournalRelay, SpillDrain
from webhook_gateway.settings import ApiSettings, RelaySettings, WorkerSettings
from webhook_gateway.topology import FETCHES, PUBLISHES, QUEUES, SERVICE


def app(context: GatewayContext | None = None) -> FastAPI:
    """The HTTP app. Without a context it serves only its documents."""
    created = create_app(
        title=SERVICE,
        description=webhook_gateway.__doc__ or "",
        routers=[router],
        checks={"a store": context.check_stores} if context else {},
        asyncapi=partial(asyncapi_document, title=SERVICE, routers=[consumers.fetches()], publishes=PUBLISHES),
    )
    created.state.context = context
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
    journal = Journal(settings.database_url.get_secret_value())
    journal_relay = JournalRelay(database, publisher)
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
        {FETCH: FetchEvents(fetcher, journal, settings.origin)},
        background=[journal_relay.run, journal_relay.measure, SpillDrain(amqp_url, journal).run],
        close=[publisher.close, journal.close, database.close, fetcher.close],
    )


def migrate() -> None:
    migrate_service(WorkerSettings(), webhook_gateway.__file__, QUEUES)


ROLES: dict[str, Role] = {"api": api, "consumers": consume, "relay": relay, "migrate": migrate}
