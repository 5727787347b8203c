"""Real servers for everybody: started once per run, found or started as testkit says."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

from testkit.postgres_server import PostgresServer
from testkit.rabbit_server import RabbitServer
from testkit.servers import postgres, rabbitmq

# No deadlines: how long something takes is a benchmark's business. In CI the examples are the same on every run.
settings.register_profile("bursar", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("bursar")


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    with postgres() as server:
        _tell(request, f"PostgreSQL: {server.rung}")
        yield server


@pytest.fixture(scope="session")
def rabbit_server(request: pytest.FixtureRequest) -> Iterator[RabbitServer]:
    with rabbitmq() as server:
        _tell(request, f"RabbitMQ: {server.rung}")
        yield server


def _tell(request: pytest.FixtureRequest, line: str) -> None:
    """Past the capture: where a server came from belongs into every run's output."""
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        sys.stderr.write(f"\n{line}\n")
