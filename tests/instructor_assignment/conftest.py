from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.databases import migrated
from tests.instructor_assignment.chat_steps import chatting
from tests.instructor_assignment.harness import Service
from tests.instructor_assignment.model_server import ModelServer, model_server

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


@pytest.fixture
async def model() -> AsyncIterator[ModelServer]:
    async with model_server() as model:
        yield model


@pytest.fixture
async def chat(assignment_database: Database, model: ModelServer) -> AsyncIterator[Service]:
    async with chatting(assignment_database, model, chat_api_key="sk-of-the-tests") as service:
        yield service
