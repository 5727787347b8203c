from __future__ import annotations

import pytest
from tests.security.databases import prepared

from testkit.postgres_server import Database, PostgresServer


@pytest.fixture(scope="session")
def databases(postgres_server: PostgresServer) -> dict[str, Database]:
    """By service."""
    return prepared(postgres_server)
