"""Composition root of checkout: settings in, processes out."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI

import checkout
from checkout import admin, api, catalog, consumers, plans
from checkout.purchasing import Purchasing
from checkout.settings import ApiSettings, RelaySettings, WorkerSettings
from checkout.stripe_client import Stripe
from checkout.topology import QUEUES, SAYS, SERVICE
from kit.process import Process, Role
from kit.service import api_process, consumers_process, create_api, database_of, migrate_service, relay_process


def app(settings: ApiSettings) -> FastAPI:
    made = create_api(
        SERVICE,
        description=checkout.__doc__,
        routers=[api.router, admin.router],
        queues=QUEUES,
        says=SAYS,
        settings=settings,
    )
    made.state.stripe = Stripe(settings)
    made.state.purchasing = Purchasing(made.state.database, made.state.stripe, frontend_url=settings.frontend_url)
    return made


def serve() -> Process:
    settings = ApiSettings()
    made = app(settings)
    return api_process(made, settings, close=[made.state.stripe.close])


def consume() -> Process:
    settings = WorkerSettings()
    return consumers_process(SERVICE, settings, [consumers.payments(settings.policy), consumers.enrollments()])


def relay() -> Process:
    settings = RelaySettings()
    stripe = Stripe(settings)
    return relay_process(SERVICE, settings, plans.handlers(stripe), close=[stripe.close])


def migrate() -> None:
    settings = WorkerSettings()
    migrate_service(settings, checkout.__file__, QUEUES)
    asyncio.run(_load_catalog(settings))


async def _load_catalog(settings: WorkerSettings) -> None:
    database = database_of(settings)
    try:
        await catalog.load(database, catalog.checked_in())
    finally:
        await database.close()


ROLES: dict[str, Role] = {"api": serve, "consumers": consume, "relay": relay, "migrate": migrate}
