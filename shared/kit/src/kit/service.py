"""The processes that every service has, built alike."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI

from contracts.envelope import Event
from kit import migrate
from kit.asyncapi import asyncapi_document
from kit.auth import Authenticator
from kit.broker import Publisher
from kit.consumer import Consumer
from kit.consuming import Consuming
from kit.db import Database
from kit.effects import EffectHandler
from kit.http import create_app
from kit.performer import Performer
from kit.process import Process, Run
from kit.relay import Relay
from kit.settings import AuthSettings, BrokerSettings, DatabaseSettings
from kit.topology import Queue, declare_at


class ApiSettings(DatabaseSettings, AuthSettings):
    """What an API that serves a service's own database needs."""


class WorkerSettings(DatabaseSettings, BrokerSettings):
    """What consumers, relay and migrate need."""


def database_of(settings: DatabaseSettings) -> Database:
    return Database(settings.database_url.get_secret_value(), pool_size=settings.database_pool_size)


def create_api(
    service: str,
    *,
    description: str | None,
    routers: Sequence[APIRouter],
    settings: ApiSettings,
    queues: Sequence[Queue] = (),
    says: Sequence[type[Event]] = (),
) -> FastAPI:
    """A service's API. Its routes find the `database` and the `settings` in `request.app.state`."""
    database = database_of(settings)
    app = create_app(
        title=service,
        description=description or "",
        routers=routers,
        checks={"database": database.ping},
        cors_origins=settings.cors_origins,
        asyncapi=asyncapi_document(title=service, queues=queues, says=says),
    )
    app.state.database = database
    app.state.authenticator = Authenticator(settings)
    app.state.settings = settings
    return app


def api_process(app: FastAPI, settings: ApiSettings, *, close: Sequence[Any] = ()) -> Process:
    return Process(settings=settings, app=app, close=[app.state.database.close, *close])


def consumers_process(service: str, settings: WorkerSettings, consumers: Sequence[Consumer]) -> Process:
    database = database_of(settings)
    amqp_url = settings.amqp_url.get_secret_value()
    publisher = Publisher(amqp_url, name=f"{service}.consumers")
    consuming = Consuming(
        service=service, amqp_url=amqp_url, database=database, publisher=publisher, consumers=consumers
    )
    return Process(
        settings=settings,
        background=[consuming.run],
        checks={"database": database.ping, "consumers": consuming.check},
        close=[publisher.close, database.close],
    )


def relay_process(
    service: str,
    settings: WorkerSettings,
    effects: Mapping[str, EffectHandler[Any]] | None = None,
    *,
    background: Sequence[Run] = (),
    close: Sequence[Any] = (),
) -> Process:
    """Publishes the outbox and performs the effects of these kinds, beside what else is to run in the `background`."""
    database = database_of(settings)
    publisher = Publisher(settings.amqp_url.get_secret_value(), name=f"{service}.relay")
    running: list[Run] = [Relay(database, publisher).run, *background]
    if effects:
        running.append(Performer(database, service, effects).run)
    return Process(
        settings=settings,
        background=running,
        checks={"database": database.ping, "broker": publisher.ping},
        close=[publisher.close, database.close, *close],
    )


def migrate_service(settings: WorkerSettings, package_file: str, queues: Sequence[Queue]) -> None:
    """Database first, then the queues: both are safe to run again, and by several at once."""
    migrate.upgrade(settings.database_url.get_secret_value(), migrate.folder_of(package_file))
    asyncio.run(declare_at(settings.amqp_url.get_secret_value(), queues))
