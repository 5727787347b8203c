"""How a service runs: `python -m <package> <role>`; each role is a process that scales on its own.

api        answers requests
consumers  works on what its queues bring
relay      sends what is due: events to the broker, jobs to the outside world
migrate    brings the database up to date and declares the queues, then ends
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog
import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from kit.http.app import create_app
from kit.http.health import Check
from kit.runtime.logs import configure
from kit.runtime.settings import Settings

log = structlog.get_logger(__name__)

Run = Callable[[asyncio.Event], Awaitable[None]]
"""Works until the event is set, then finishes what it holds and returns."""

DRAIN_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Process:
    """What a role brings: a web app, or work in the background beside health pages, or both."""

    settings: Settings
    app: FastAPI | None = None
    background: Sequence[Run] = ()
    checks: Mapping[str, Check] | None = None
    close: Sequence[Callable[[], Awaitable[None]]] = ()


Role = Callable[[], Process | None]
"""Builds a role from the environment. None: the role has done its work already (migrate)."""


def main(service: str, roles: Mapping[str, Role], argv: Sequence[str] | None = None) -> None:
    """The command line of a service. Exits with 2 and the names of the settings that are missing or wrong."""
    parser = argparse.ArgumentParser(prog=f"python -m {service.replace('-', '_')}", description=__doc__)
    parser.add_argument("role", choices=sorted(roles))
    role: str = parser.parse_args(argv).role
    configure(service=service, role=role, level="INFO")
    try:
        process = roles[role]()
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])).upper() or 'settings'}: {e['msg']}" for e in error.errors())
        parser.exit(2, f"{service} {role}: {wrong}\n")
    if process is not None:
        configure(service=service, role=role, level=process.settings.log_level)
        if not asyncio.run(run(process, name=f"{service}.{role}")):
            parser.exit(1, f"{service} {role}: ended by itself; its log says why\n")


async def run(process: Process, *, name: str) -> bool:
    """Runs until SIGTERM or SIGINT, then drains: what is under way is finished, nothing new is begun.

    False: it was not told to end, but some of its work has (a supervisor should start a new one).
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    app = process.app or create_app(title=name, checks=process.checks)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=process.settings.http_host,
            port=process.settings.http_port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=DRAIN_SECONDS,
            lifespan="off",
        )
    )
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]  # ours, above
    gc.freeze()
    serving = asyncio.create_task(server.serve())
    working = [asyncio.create_task(_guard(work, stop, name)) for work in process.background]
    in_order = True
    log.info("started", port=process.settings.http_port)
    try:
        await asyncio.wait((serving, asyncio.create_task(stop.wait())), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.set()
        await asyncio.wait([*working, asyncio.create_task(asyncio.sleep(0))], timeout=DRAIN_SECONDS)
        in_order = all(task.done() and task.result() for task in working)
        server.should_exit = True
        await serving
        for task in working:
            task.cancel()
        for close in process.close:
            with contextlib.suppress(Exception):
                await close()
        log.info("stopped", in_order=in_order)
    return in_order


async def _guard(work: Run, stop: asyncio.Event, name: str) -> bool:
    """Whether the work ended because it was told to. What ends before that ends the whole process."""
    try:
        await work(stop)
    except Exception as error:
        log.error("background work failed", name=name, exc_info=error)
        stop.set()
        return False
    told = stop.is_set()
    stop.set()
    return told
