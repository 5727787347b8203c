from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from tests.databases import empty, migrated, opened
from tests.enrollment.harness import Service
from tests.processes import JWT

import enrollment
from enrollment import main
from enrollment.settings import ApiSettings
from kit.db.database import Database
from testkit import postgres_server as pg

TABLES = (
    *("step_progress", "project_progress", "enrollments", "curricula", "caseload"),
    *("outbox_messages", "outbox_due", "inbox", "facts", "fact_keys", "verifications", "repairs"),
)


@pytest.fixture(scope="session")
def enrollment_database(postgres_server: pg.PostgresServer) -> pg.Database:
    return migrated(postgres_server, "enrollment_tests", enrollment.__file__)


@pytest.fixture
async def database(enrollment_database: pg.Database) -> AsyncIterator[Database]:
    """The database with the consumers' login; empty."""
    async with opened(enrollment_database.url) as database:
        async with database.transaction() as db:
            await empty(db, *TABLES)
        yield database


@pytest.fixture
async def api_database(enrollment_database: pg.Database) -> AsyncIterator[Database]:
    """The database with the API's logins."""
    async with opened(enrollment_database.api_url, staff_url=enrollment_database.staff_url) as database:
        yield database


@pytest.fixture
async def app(enrollment_database: pg.Database) -> AsyncIterator[FastAPI]:
    """The API, using the API's logins."""
    settings = ApiSettings(
        database_url=SecretStr(enrollment_database.api_url),
        staff_database_url=SecretStr(enrollment_database.staff_url),
        jwt_secret=SecretStr(JWT["JWT_SECRET"]),
        jwt_issuer=JWT["JWT_ISSUER"],
        jwt_audience=JWT["JWT_AUDIENCE"],
    )
    app = main.app(settings)
    yield app
    await app.state.database.close()


@pytest.fixture
async def api(database: Database, app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://enrollment") as client:
        yield client


@pytest.fixture
def service(database: Database, api: httpx.AsyncClient) -> Service:
    return Service(database, api)
