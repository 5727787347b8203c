from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from tests.milady_integration.service import Sandbox, Service, sandbox_running

import milady_integration
from kit.db import migrate
from testkit.postgres_server import Database, PostgresServer


@pytest.fixture(scope="package")
def running_sandbox() -> Iterator[Sandbox]:
    with sandbox_running() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox: Sandbox) -> Sandbox:
    running_sandbox.reset()
    return running_sandbox


@pytest.fixture(scope="package")
def milady_database(postgres_server: PostgresServer) -> Database:
    database = postgres_server.create_database("milady_integration")
    migrate.upgrade(database.url, migrate.folder_of(milady_integration.__file__))
    return database


@pytest_asyncio.fixture
async def service(milady_database: Database, sandbox: Sandbox) -> AsyncIterator[Service]:
    running = Service(milady_database, sandbox)
    await running.rows("DELETE FROM jobs RETURNING 1")  # what an earlier test has left undone
    yield running
    await running.close()


@pytest_asyncio.fixture
async def by_hand(milady_database: Database, sandbox: Sandbox) -> AsyncIterator[Service]:
    """The same with MILADY_MODE=manual."""
    running = Service(milady_database, sandbox, mode="manual")
    await running.rows("DELETE FROM jobs RETURNING 1")
    yield running
    await running.close()
