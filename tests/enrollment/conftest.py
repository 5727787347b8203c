from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from tests.databases import migrated, opened

import enrollment
from kit.db import Database
from kit.testing import postgres_server as pg


@pytest.fixture(scope="session")
def enrollment_database(postgres_server: pg.PostgresServer) -> pg.Database:
    return migrated(postgres_server, "enrollment_tests", enrollment.__file__)


@pytest.fixture
async def database(enrollment_database: pg.Database) -> AsyncIterator[Database]:
    """As the consumers see it; empty."""
    async with opened(enrollment_database.url) as database:
        async with database.transaction() as db:
            await db.execute(text("TRUNCATE enrollments, outbox, inbox, facts, fact_keys"))
        yield database


@pytest.fixture
async def api_database(enrollment_database: pg.Database) -> AsyncIterator[Database]:
    """As the API's login sees it."""
    async with opened(enrollment_database.api_url) as database:
        yield database
