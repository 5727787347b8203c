from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.databases import migrated
from tests.reporting.harness import Service

import reporting
from testkit import postgres_server as pg


@pytest.fixture(scope="session")
def reporting_database(postgres_server: pg.PostgresServer) -> pg.Database:
    return migrated(postgres_server, "reporting_tests", reporting.__file__)


@pytest.fixture
async def service(reporting_database: pg.Database) -> AsyncIterator[Service]:
    """Without data."""
    service = Service(reporting_database)
    await service.reset()
    yield service
    await service.close()
