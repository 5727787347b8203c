"""How a service runs: `python -m <package> <role>`; each role is a process that scales on its own. Some services have
more roles, and commands beside them, `python -m <package> <command> --help`, which run beside the processes and exit.

api        answers requests
consumers  handles the messages of the service's queues
relay      publishes the outbox and runs the jobs that are due
migrate    upgrades the database and declares the queues, then exits
admin      of webhook-gateway: an API for operators, with the deployment's login at the broker; not for the public
all        migrate, then api, consumers and relay in one process: for small installations. DATABASE_URL is the login
           of consumers and relay, MIGRATE_DATABASE_URL the owner's, API_DATABASE_URL the API's; each can be read from
           a file (<NAME>_FILE). Before the first start, run migrate for every service: an event published before a
           queue is declared does not reach it. The role admin is a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from kit.http.app import create_app
from kit.http.health import Check
from kit.http.internal import create_internal_app
from kit.http.protocol import HttpProtocol
from kit.runtime import garbage_collection
from kit.runtime.dependencies import Dependencies
from kit.runtime.logs import configure
from kit.runtime.settings import Settings

log = structlog.get_logger(__name__)

Run = Callable[[asyncio.Event], Awaitable[None]]
"""Runs until the event is set, then finishes the work in progress and returns."""

DRAIN_SECONDS = 30
ALL = "all"
_OF_ALL = ("MIGRATE_DATABASE_URL", "API_DATABASE_URL")
"""Settings of the role `all` beside DATABASE_URL: each part has its own login, as in separate processes."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """What a role runs: a web app at the public port, or background work, or both; and the internal port beside it."""

    settings: Settings
    app: FastAPI | None = None
    background: Sequence[Run] = ()
    checks: Mapping[str, Check] | None = None
    dependencies: Mapping[str, Check] = field(default_factory=dict)
    close: Sequence[Callable[[], Awaitable[None]]] = ()


Role = Callable[[], Process | None]
"""Builds a role from the environment. Returns None if the role has already finished (migrate)."""


Command = Callable[[Sequence[str]], int]
"""Runs with the arguments that follow its name, and returns the exit code."""


def main(
    service: str,
    roles: Mapping[str, Role],
    argv: Sequence[str] | None = None,
    *,
    commands: Mapping[str, Command] = MappingProxyType({}),
) -> None:
    """The command line of a service. Exits with 2 and the names of missing or invalid settings."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {service.replace('-', '_')}",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("role", choices=sorted([*roles, ALL, *commands]))
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of a command")
    parsed = parser.parse_args(argv)
    role: str = parsed.role
    if parsed.arguments and role not in commands:
        parser.error(f"unrecognized arguments: {' '.join(parsed.arguments)}")
    configure(service=service, role=role, level="INFO")
    missing = [name for name in _OF_ALL if not (os.environ.get(name) or os.environ.get(f"{name}_FILE"))]
    if role == ALL and missing:
        parser.exit(2, f"{service} {role}: {'; '.join(f'{name}: Field required' for name in missing)}\n")
    try:
        if role in commands:
            sys.exit(commands[role](parsed.arguments))
        process = _all(roles) if role == ALL else roles[role]()
    except ValidationError as error:
        parser.exit(2, f"{service} {role}: {'; '.join(map(_described, error.errors()))}\n")
    except SettingsError as error:
        parser.exit(2, f"{service} {role}: {error}\n")
    if process is not None:
        configure(service=service, role=role, level=process.settings.log_level)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            in_order = runner.run(run(process, name=f"{service}.{role}"))
        if not in_order:
            parser.exit(1, f"{service} {role}: exited unexpectedly; see its log\n")


def _described(error: ErrorDetails) -> str:
    name = ".".join(map(str, error["loc"])).upper() or "settings"
    return f"{name}: {error['msg'].removeprefix('Value error, ')}"


def _all(roles: Mapping[str, Role]) -> Process:
    """Migrates, then builds every other role as one process: one pair of ports, one /readyz with all checks, one
    drain.

    Each keeps the login that it has as a process of its own: a request must not run with the rights of a migration.
    """
    with _environment(**_of_part("API", "DATABASE_URL")):
        api = roles["api"]()
    if api is None or api.app is None:
        raise TypeError("the role api has no app")
    others = {name: role() for name, role in roles.items() if name not in ("api", "migrate", "admin")}
    with _environment(**_of_part("MIGRATE", "DATABASE_URL", "AMQP_URL")):
        _in_a_fork(roles["migrate"])
    parts = {name: part for name, part in others.items() if part is not None}
    api.app.state.checks |= {
        f"{name}.{check}": run for name, part in parts.items() for check, run in (part.checks or {}).items()
    }
    for part in parts.values():
        api.app.state.reported.update(part.settings.reported)
    return replace(
        api,
        dependencies={name: check for part in (api, *parts.values()) for name, check in part.dependencies.items()},
        background=[work for part in (api, *parts.values()) for work in part.background],
        close=[close for part in (api, *parts.values()) for close in part.close],
    )


def _of_part(part: str, *settings: str) -> dict[str, str]:
    """`API_DATABASE_URL` as `DATABASE_URL`, or `API_DATABASE_URL_FILE` as `DATABASE_URL_FILE`; the other is empty."""
    found: dict[str, str] = {}
    for name in settings:
        given = {f"{name}{kind}": os.environ.get(f"{part}_{name}{kind}", "") for kind in ("", "_FILE")}
        if any(given.values()):
            found |= given
    return found


def _in_a_fork(role: Role) -> None:
    """Runs a role that ends, and gives its memory back. Exits if it fails."""
    process = multiprocessing.get_context("fork").Process(target=role)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)


@contextmanager
def _environment(**changes: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


async def run(process: Process, *, name: str) -> bool:
    """Runs until SIGTERM or SIGINT, then drains: work in progress is finished, no new work is started.

    Returns False if background work ended without a signal (a supervisor should restart the process).
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    app = process.app or create_app(title=name, checks=process.checks)
    app.state.reported.update(process.settings.reported)
    dependencies = Dependencies(process.dependencies)
    app.state.reported["dependencies"] = dependencies.outcomes
    settings = process.settings
    internal_app = create_internal_app(app, has_api=process.app is not None)
    servers = [_server(internal_app, settings.internal_host, settings.internal_port)]
    if process.app is not None:
        servers.append(_server(app, settings.http_host, settings.http_port, settings.trusted_proxies))
    garbage_collection.run_rarely()
    serving = [asyncio.create_task(server.serve()) for server in servers]
    background = [*process.background, dependencies.run]
    working = [asyncio.create_task(_guard(work, stop, name)) for work in background]
    in_order = True
    log.info("started", port=settings.http_port if process.app else None, internal_port=settings.internal_port)
    try:
        await asyncio.wait((*serving, asyncio.create_task(stop.wait())), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.set()
        await asyncio.wait([*working, asyncio.create_task(asyncio.sleep(0))], timeout=DRAIN_SECONDS)
        in_order = all(task.done() and task.result() for task in working)
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*serving)
        for task in working:
            task.cancel()
        for close in process.close:
            with contextlib.suppress(Exception):
                await close()
        log.info("stopped", in_order=in_order)
    return in_order


def _server(app: FastAPI, host: str, port: int, trusted_proxies: Sequence[str] = ()) -> uvicorn.Server:
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=DRAIN_SECONDS,
            lifespan="off",
            http=HttpProtocol,
            forwarded_allow_ips=list(trusted_proxies),
        )
    )
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]  # ours, in run
    return server


async def _guard(work: Run, stop: asyncio.Event, name: str) -> bool:
    """Returns whether the work ended because `stop` was set. If it ends earlier, the whole process stops."""
    try:
        await work(stop)
    except (Exception, asyncio.CancelledError) as error:
        log.error("background work failed", name=name, exc_info=error)
        stop.set()
        return False
    requested = stop.is_set()
    stop.set()
    return requested
