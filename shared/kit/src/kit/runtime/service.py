"""Builds the processes that every service has."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from fastapi import APIRouter, FastAPI, params
from faststream.rabbit import RabbitRouter
from pydantic import Field, SecretStr

from contracts.envelope import Event
from contracts.registry import PUBLISHED_BY
from kit.db.database import Database
from kit.http import database_health
from kit.http.app import create_app
from kit.http.auth import Authenticator
from kit.http.erasure import REFUSE_ERASED_CALLERS
from kit.http.health import Check
from kit.http.limits import Limits
from kit.jobs.jobs import JobHandler
from kit.jobs.worker import JobWorker
from kit.messaging.asyncapi import asyncapi_document
from kit.messaging.batches import connections
from kit.messaging.broker import Publisher
from kit.messaging.gauges import Backlog, QueueDepths, watch_pools
from kit.messaging.relay import Relay
from kit.messaging.retention import Expiry, Retention
from kit.messaging.runner import SubscriberRunner
from kit.messaging.topology import Queue, declare_at
from kit.personal_data.declaration import PersonalData
from kit.personal_data.erasure import ERASURE
from kit.personal_data.erasure_requests import ErasureJob
from kit.runtime.process import Process, Run
from kit.runtime.settings import AuthSettings, BrokerSettings, DatabaseSettings, LimitSettings, RetentionSettings


class ApiSettings(DatabaseSettings, AuthSettings, LimitSettings):
    """Settings of an API that serves the service's own database."""

    staff_database_url: SecretStr
    """The login for the requests of staff; `database_url` has the one for students and the public."""


class WorkerSettings(DatabaseSettings, BrokerSettings, RetentionSettings):
    """Settings of consumers, relay and migrate.

    verify_every_seconds: how often the relay compares the rows with the facts; 0: only when asked
    """

    verify_every_seconds: int = Field(default=86_400, ge=0)


def database_of(settings: DatabaseSettings, *, connections: int = 0) -> Database:
    """With at least so many connections in its pool."""
    pool_size = max(settings.database_pool_size, connections)
    return Database(settings.database_url.get_secret_value(), pool_size=pool_size)


def create_api(
    service: str,
    *,
    description: str | None,
    routers: Sequence[APIRouter],
    settings: ApiSettings,
    consumers: Sequence[RabbitRouter] = (),
    publishes: Sequence[type[Event]] = (),
    dependencies: Sequence[params.Depends] = (),
    tags: Mapping[str, str] | None = None,
) -> FastAPI:
    """A service's API. Routes get `database` and `settings` from `request.app.state`. Admins read the state of the
    database.

    `dependencies`: of every route. `tags`: what each is about. `consumers` and `publishes` are only for its AsyncAPI
    document.
    """
    database = Database(
        settings.database_url.get_secret_value(),
        pool_size=settings.database_pool_size,
        staff_url=settings.staff_database_url.get_secret_value(),
    )
    app = create_app(
        title=service,
        description=description or "",
        routers=[*routers, database_health.router],
        dependencies=[REFUSE_ERASED_CALLERS, *dependencies],
        checks={"database": database.ping},
        cors_origins=settings.cors_origins,
        asyncapi=partial(asyncapi_document, title=service, routers=consumers, publishes=publishes),
        package=service.replace("-", "_"),
        tags=tags,
    )
    app.state.service = service
    app.state.database = database
    app.state.authenticator = Authenticator(settings)
    app.state.limits = Limits.of(settings)
    app.state.settings = settings
    return app


def api_process(app: FastAPI, settings: ApiSettings, *, close: Sequence[Any] = ()) -> Process:
    watch_pools("api", app.state.database)
    return Process(
        settings=settings,
        app=app,
        dependencies={"clock": app.state.database.check_clock, "token keys": app.state.authenticator.check},
        close=[app.state.database.close, app.state.authenticator.close, *close],
    )


def consumers_process(
    service: str, settings: WorkerSettings, routers: Sequence[RabbitRouter], queues: Sequence[Queue]
) -> Process:
    """Consumes these queues. Raises ValueError if a queue has no subscriber, or an event bound to it no handler."""
    database = database_of(settings, connections=connections(len(queues)))
    amqp_url = settings.amqp_url.get_secret_value()
    publisher = Publisher(amqp_url, name=f"{service}.consumers")
    subscriber_runner = SubscriberRunner(
        service=service,
        amqp_url=amqp_url,
        database=database,
        publisher=publisher,
        queues=queues,
        routers=routers,
        operator=settings.amqp_operator,
        accept_unsigned=settings.accept_unsigned_events,
    )
    depths = QueueDepths(amqp_url, queues)
    watch_pools("consumers", database)
    return Process(
        settings=settings,
        background=[subscriber_runner.run, depths.run],
        checks={"database": database.ping, "consumers": subscriber_runner.check, "queues": depths.check},
        close=[publisher.close, database.close],
    )


def relay_process(
    service: str,
    settings: WorkerSettings,
    jobs: Mapping[str, JobHandler[Any]] | None = None,
    *,
    background: Sequence[Run] = (),
    expiries: Sequence[Expiry] = (),
    queues: Sequence[Queue] = (),
    personal: PersonalData | None = None,
    own_queues: Sequence[Queue] = (),
    dependencies: Mapping[str, Check] = MappingProxyType({}),
    close: Sequence[Any] = (),
) -> Process:
    """Publishes the outbox and runs the jobs of these kinds, and what else is given as `background`.

    `expiries`: rows of the service's own tables that end. `queues`: those that no consumers process measures.
    `personal`, `own_queues`: what an erasure has to erase. `dependencies`: what the jobs call.
    """
    database = database_of(settings)
    amqp_url = settings.amqp_url.get_secret_value()
    publisher = Publisher(amqp_url, name=f"{service}.relay")
    retention = Retention(database, settings, expiries)
    if personal is not None:
        jobs = {**(jobs or {}), ERASURE: ErasureJob(personal, amqp_url, publisher, own_queues)}
    backlog = Backlog(database, jobs or (), PUBLISHED_BY.get(service, ()))
    running: list[Run] = [Relay(database, publisher).run, retention.run, backlog.run, *background]
    if queues:
        running.append(QueueDepths(amqp_url, queues).run)
    watch_pools("relay", database)
    if jobs:
        running.append(JobWorker(database, service, jobs).run)
    return Process(
        settings=settings,
        background=running,
        checks={"database": database.ping, "broker": publisher.ping},
        dependencies={"clock": database.check_clock, **dependencies},
        close=[publisher.close, database.close, *close],
    )


def migrate_service(settings: WorkerSettings, package_file: str, queues: Sequence[Queue]) -> None:
    """Upgrades the database, then declares the queues. Both are idempotent and may run concurrently.

    The logins are those of the deployment, which owns the tables and may configure the broker.
    """
    from kit.db import migrate  # Alembic takes 9 MB, which no other role needs

    migrate.upgrade(settings.database_url.get_secret_value(), migrate.folder_of(package_file))
    asyncio.run(declare_at(settings.amqp_url.get_secret_value(), queues))
