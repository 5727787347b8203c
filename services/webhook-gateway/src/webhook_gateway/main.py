"""Composition root of webhook-gateway: settings in, processes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import FastAPI

import webhook_gateway
from kit.http.app import create_app
from kit.messaging.asyncapi import asyncapi_document
from kit.messaging.broker import Publisher
from kit.runtime.failures import Transient
from kit.runtime.process import Process, Role
from kit.runtime.service import database_of, migrate_service
from webhook_gateway.api import router
from webhook_gateway.journal import Journal
from webhook_gateway.relay import JournalRelay, SpillDrain
from webhook_gateway.settings import ApiSettings, RelaySettings
from webhook_gateway.topology import PUBLISHES, QUEUES, SERVICE


@dataclass(frozen=True, kw_only=True)
class Door:
    secrets: Sequence[bytes]
    journal: Journal
    publisher: Publisher

    async def has_a_store(self) -> None:
        """Ready with either store: a gateway without its database still takes events."""
        try:
            await self.journal.ping()
        except Transient:
            await self.publisher.ping()


def app(door: Door | None = None) -> FastAPI:
    """The app; without a door only its documents can be read."""
    created = create_app(
        title=SERVICE,
        description=webhook_gateway.__doc__ or "",
        routers=[router],
        checks={"a store": door.has_a_store} if door else {},
        asyncapi=asyncapi_document(title=SERVICE, publishes=PUBLISHES),
    )
    created.state.door = door
    return created


def api() -> Process:
    settings = ApiSettings()
    door = Door(
        secrets=settings.secrets,
        journal=Journal(settings.database_url.get_secret_value()),
        publisher=Publisher(settings.amqp_url.get_secret_value(), name=f"{SERVICE}.api"),
    )
    return Process(settings=settings, app=app(door), close=[door.journal.close, door.publisher.close])


def relay() -> Process:
    settings = RelaySettings()
    database = database_of(settings)
    amqp_url = settings.amqp_url.get_secret_value()
    publisher = Publisher(amqp_url, name=f"{SERVICE}.relay")
    journal = Journal(settings.database_url.get_secret_value())
    publishing = JournalRelay(database, publisher)
    return Process(
        settings=settings,
        background=[publishing.run, publishing.measure, SpillDrain(amqp_url, journal).run],
        checks={"database": database.ping, "broker": publisher.ping},
        close=[publisher.close, journal.close, database.close],
    )


def migrate() -> None:
    migrate_service(RelaySettings(), webhook_gateway.__file__, QUEUES)


ROLES: dict[str, Role] = {"api": api, "relay": relay, "migrate": migrate}
