from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from tests.checkout.installment_steps import School
from tests.checkout.membership_steps import Member
from tests.checkout.sandbox import StripeSandbox
from tests.checkout.service import Apps, Service

import checkout
from checkout.catalog import loader as catalog
from kit.db import database as db
from kit.db import migrate
from testkit.postgres_server import Database, PostgresServer


@pytest.fixture(scope="session")
def stripe_sandbox() -> Iterator[StripeSandbox]:
    with StripeSandbox() as running:
        yield running


@pytest.fixture(scope="package")
def checkout_database(postgres_server: PostgresServer) -> Database:
    return new_database(postgres_server)


def new_database(postgres_server: PostgresServer) -> Database:
    """With the catalog that is checked in."""
    database = postgres_server.create_database("checkout")
    migrate.upgrade(database.owner_url, migrate.folder_of(checkout.__file__))
    loaded(database)
    return database


def loaded(database: Database) -> None:
    """With the catalog that is checked in."""
    asyncio.run(_load(database.url))


async def _load(url: str) -> None:
    database = db.Database(url)
    await catalog.load(database, catalog.checked_in())
    await database.close()


@pytest_asyncio.fixture(scope="package")
async def apps() -> AsyncIterator[Apps]:
    shared = Apps()
    yield shared
    await shared.close()


@pytest_asyncio.fixture
async def service(checkout_database: Database, stripe_sandbox: StripeSandbox, apps: Apps) -> AsyncIterator[Service]:
    running = Service(checkout_database, stripe_sandbox, apps)
    yield running
    await stripe_sandbox.faults()
    await running.close()


@pytest.fixture(scope="session")
def sandbox_with_moved_clock() -> Iterator[StripeSandbox]:
    """Its clock is moved by years: payments of the other sandbox would come before those that are older."""
    with StripeSandbox() as running:
        yield running


@pytest_asyncio.fixture
async def service_with_moved_clock(
    checkout_database: Database, sandbox_with_moved_clock: StripeSandbox, apps: Apps
) -> AsyncIterator[Service]:
    service = Service(checkout_database, sandbox_with_moved_clock, apps)
    yield service
    await sandbox_with_moved_clock.faults()
    await service.close()


@pytest.fixture
def member(service_with_moved_clock: Service) -> Member:
    return Member(service_with_moved_clock)


@pytest_asyncio.fixture
async def school(service: Service) -> AsyncIterator[School]:
    await service.rows("DELETE FROM test_clock RETURNING id")
    yield School(service)
