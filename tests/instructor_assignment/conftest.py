from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.instructor_assignment.service import Service

import instructor_assignment
from kit.db import migrate
from testkit.postgres_server import Database, PostgresServer


@pytest.fixture(scope="package")
def assignment_database(postgres_server: PostgresServer) -> Database:
    database = postgres_server.create_database("instructor_assignment")
    migrate.upgrade(database.url, migrate.folder_of(instructor_assignment.__file__))
    return database


@pytest_asyncio.fixture
async def service(assignment_database: Database) -> AsyncIterator[Service]:
    running = Service(assignment_database)
    yield running
    await running.close()
