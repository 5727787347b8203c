from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.databases import migrated
from tests.instructor_assignment.harness import Service

import instructor_assignment
from testkit.postgres_server import Database, PostgresServer


@pytest.fixture(scope="package")
def assignment_database(postgres_server: PostgresServer) -> Database:
    return migrated(postgres_server, "instructor_assignment", instructor_assignment.__file__)


@pytest_asyncio.fixture(scope="package")
async def service(assignment_database: Database) -> AsyncIterator[Service]:
    running = Service(assignment_database)
    yield running
    await running.close()
