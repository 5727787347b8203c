"""Service processes for tests, started with the same environment as in production."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

from contracts.registry import PUBLISHED_BY
from kit.messaging.topology import Queue, declare_at
from testkit.processes import Command, Process, free_ports

DEVELOPMENT = {"BURSAR_ENV": "development", "RATE_LIMIT_MONEY": "", "RATE_LIMIT_GUESSES": ""}
JWT = {
    "JWT_SECRET": "a-secret-of-the-tests-with-32-bytes-or-more",
    "JWT_ISSUER": "https://issuer.test",
    "JWT_AUDIENCE": "bursar",
}


class RunningRole(Process):
    """One role of a service. `url` is the address of its API, `internal_url` that of its health and metrics."""

    def __init__(self, package: str, role: str, env: Mapping[str, str], *, log: Path | None = None) -> None:
        port, internal_port = free_ports(2)
        self.url = f"http://127.0.0.1:{port}"
        self.internal_url = f"http://127.0.0.1:{internal_port}"
        super().__init__(
            Command(
                name=f"{package}.{role}",
                argv=[sys.executable, "-m", package, role],
                env={
                    **os.environ,
                    **JWT,
                    "BURSAR_ENV": "development",
                    **env,
                    "HTTP_PORT": str(port),
                    "HTTP_HOST": "127.0.0.1",
                    "INTERNAL_PORT": str(internal_port),
                },
                log=log,
                ready_url=f"{self.internal_url}/readyz",
            )
        )


def migrate(package: str, env: Mapping[str, str]) -> None:
    """The role `migrate`: upgrades the database and declares the queues. In this process: an interpreter that imports
    the service again takes longer than the migration. (The journeys and tests/compose run it in its own.)

    As in the role `all`, MIGRATE_DATABASE_URL and MIGRATE_AMQP_URL take the place of those without MIGRATE_.
    """
    role = importlib.import_module(f"{package}.main").ROLES["migrate"]
    own = {name.removeprefix("MIGRATE_"): url for name, url in env.items() if name.startswith("MIGRATE_")}
    with mock.patch.dict(os.environ, {**env, **own}), ThreadPoolExecutor(1) as beside_the_event_loop:
        beside_the_event_loop.submit(role).result(60)


async def declare_consumer_of(service: str, amqp_url: str) -> None:
    """A queue for all events of a service that runs alone: without one, they stay in its outbox."""
    await declare_at(amqp_url, [Queue(f"tests.{service}-events", events=PUBLISHED_BY[service])])
