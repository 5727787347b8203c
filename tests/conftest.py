"""What all tests share: real servers, Hypothesis profiles, the mark `server`, and how workers divide the files.

Servers are started by the first test that needs them, once per run and worker; testkit says where they come from.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import aio_pika
import pytest
from aio_pika.exceptions import ChannelNotFoundEntity
from hypothesis import settings
from tests.security.databases import PACKAGES
from xdist.scheduler import LoadScopeScheduling

from kit.http.declared_problems import REFUSE
from kit.messaging.outbox import EVENTS_EXCHANGE
from kit.messaging.topology import ALL
from reporting import topology as reporting
from testkit.postgres_server import PostgresServer
from testkit.rabbit_server import RabbitServer
from testkit.servers import postgres, rabbitmq

TESTS = Path(__file__).parent

# No deadlines: how long something takes is for benchmarks. In CI the examples are the same in every run.
settings.register_profile("thorough", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.register_profile("quick", deadline=None, max_examples=25)
settings.load_profile("thorough" if os.environ.get("CI") else "quick")

SERVER_FIXTURES = {"postgres_server", "rabbit_server", "stack", "stripe_sandbox", "running_sandbox", "running"}
ONE_WORKER = ("journeys",)
"""Folders whose tests share one expensive fixture: one worker runs them all."""
LONG = ("journeys", "year", "faults", "devstack")
"""Folders that run first, so that no worker is left alone with a long file at the end."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "server: starts servers or services (set by tests/conftest.py for fixtures)")
    gc.disable()
    os.environ |= {"BURSAR_ENV": "development", "RATE_LIMIT_MONEY": "", "RATE_LIMIT_GUESSES": "", REFUSE: "refuse"}
    if config.option.markexpr == "not server":
        os.environ["BURSAR_TEST_SERVERS"] = "none"  # a test without the mark fails if it starts one


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if SERVER_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("server")
    items.sort(key=lambda item: LONG.index(folder) if (folder := _folder(item.path)) in LONG else len(LONG))


def pytest_collection_finish() -> None:
    """Everything that is imported by now stays: the garbage collector need not look at it again and again."""
    gc.freeze()
    gc.enable()


class FileScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """A worker takes a whole file (or folder, see ONE_WORKER): its fixtures are set up once."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        folder = _folder(Path(file).absolute())
        return folder if folder in ONE_WORKER else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> FileScheduling | None:
    if config.option.dist != "load":
        return None
    config.option.loadscopereorder = False
    return FileScheduling(config, log)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are cores, as the tests wait for other processes a third of the time. At most 5, each with
    its own servers. If a server is given by its URL: no workers, as they would share its databases and queues."""
    if any(os.environ.get(f"BURSAR_TEST_{name}_URL") for name in ("POSTGRES", "AMQP")):
        return 0
    cores = os.cpu_count() or 1
    return min(cores, 4) + (0 if config.option.markexpr == "not server" else 1)


def _folder(path: Path) -> str:
    return path.relative_to(TESTS).parts[0]


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    with postgres() as server:
        _report(request, f"PostgreSQL: {server.rung}")
        yield server


@pytest.fixture(scope="session")
def rabbit_server(request: pytest.FixtureRequest) -> Iterator[RabbitServer]:
    with rabbitmq() as server:
        _report(request, f"RabbitMQ: {server.rung}")
        yield server


@pytest.fixture
async def no_queue_of_all_types(rabbit_server: RabbitServer) -> AsyncIterator[None]:
    """Reporting's takes events of any type; other tests may have declared it."""
    connection = await aio_pika.connect(rabbit_server.url)
    async with connection:
        channel = await connection.channel()
        try:
            queue = await channel.get_queue(reporting.EVENTS.name)
        except ChannelNotFoundEntity:
            yield
            return
        await queue.unbind(EVENTS_EXCHANGE, ALL)
        yield
        await queue.bind(EVENTS_EXCHANGE, ALL)


@pytest.fixture
async def no_old_messages(rabbit_server: RabbitServer) -> None:
    """What other tests left in the services' queues is about students of the same ids."""
    names = [queue.name for package in PACKAGES for queue in import_module(f"{package}.topology").QUEUES]
    connection = await aio_pika.connect(rabbit_server.url)
    async with connection:
        for name in names:
            channel = await connection.channel()
            with suppress(ChannelNotFoundEntity):  # nobody declared it yet
                await (await channel.get_queue(name)).purge()


def _report(request: pytest.FixtureRequest, line: str) -> None:
    """Past the capture: every run's output says where its servers came from."""
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        sys.stderr.write(f"\n{line}\n")
