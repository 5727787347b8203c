from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from tests.databases import migrated
from tests.milady_integration.harness import Sandbox, Service, sandbox_running

import milady_integration
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
    return migrated(postgres_server, "milady_integration", milady_integration.__file__)


@pytest_asyncio.fixture(scope="package")
async def api_mode(milady_database: Database, running_sandbox: Sandbox) -> AsyncIterator[Service]:
    running = Service(milady_database, running_sandbox)
    yield running
    await running.close()


@pytest_asyncio.fixture(scope="package")
async def manual_mode(milady_database: Database, running_sandbox: Sandbox) -> AsyncIterator[Service]:
    running = Service(milady_database, running_sandbox, mode="manual")
    yield running
    await running.close()


@pytest_asyncio.fixture
async def service(api_mode: Service, sandbox: Sandbox) -> Service:
    await api_mode.rows("DELETE FROM jobs RETURNING 1")  # left over from an earlier test
    return api_mode


@pytest_asyncio.fixture
async def by_hand(manual_mode: Service, sandbox: Sandbox) -> Service:
    """The service with MILADY_MODE=manual."""
    await manual_mode.rows("DELETE FROM jobs RETURNING 1")
    return manual_mode
