"""Services whose clocks are a minute apart, by libfaketime (Debian's package of this name)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.faults.injections import SERVICES, start
from tests.journeys.harness import School

from testkit.engines import Unavailable

_LIBRARIES = "*/faketime/libfaketime.so.1"
AHEAD_SECONDS = (30, -30)
"""Of every other service. A token is accepted 30 s before it was issued (kit.http.auth)."""
_MINUTE_SECONDS = 10


def library() -> str:
    """The path of libfaketime. Raises Unavailable."""
    if (found := next(Path("/usr/lib").glob(_LIBRARIES), None)) is None:
        raise Unavailable("libfaketime is not installed")
    return str(found)


@contextmanager
def libfaketime(_: Path) -> Iterator[None]:
    """Raises Unavailable where it is not installed."""
    library()
    yield


async def set_clocks_apart(school: School, number: int) -> int:
    """Each service in turn is half a minute ahead of the servers or behind them; then all are right again."""
    before = {name: school.stack.processes[name].command.env for name in SERVICES[:number]}
    for n, name in enumerate(before):
        await _restart(school, name, {**before[name], **_ahead(AHEAD_SECONDS[n % 2])})
    await asyncio.sleep(_MINUTE_SECONDS)
    for name, env in before.items():
        await _restart(school, name, env)
    return len(before)


def _ahead(seconds: int) -> Mapping[str, str]:
    """The monotonic clock stays right: an event loop waits by it."""
    return {"LD_PRELOAD": library(), "FAKETIME": f"{seconds:+d}", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


async def _restart(school: School, name: str, env: Mapping[str, str]) -> None:
    process = school.stack.processes[name]
    await asyncio.to_thread(process.stop, 60)
    process.command = replace(process.command, env=env)
    await start(process)
