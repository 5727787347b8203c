"""Real servers for everybody: started once per run, found or started as kit.testing says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kit.testing.postgres_server import PostgresServer
from kit.testing.rabbit_server import RabbitServer
from kit.testing.servers import postgres, rabbitmq


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def rabbit_server() -> Iterator[RabbitServer]:
    with rabbitmq() as server:
        yield server
