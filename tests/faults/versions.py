"""An upgrade while purchases are made: services of the version before the newest migration, then of this one."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

from tests.faults.injections import SERVICES, start
from tests.journeys.harness import School

from devstack.services import Ports
from devstack.stack import ROOT
from testkit.engines import Unavailable
from testkit.processes import Process, free_ports

BESIDE_SECONDS = 3.0
_MIGRATIONS = ":(glob)services/*/migrations/versions/*.py"
_PATH = "PYTHONPATH"
_SETTINGS = "shared/kit/src/kit/runtime/settings.py"


@contextmanager
def previous_version(folder: Path) -> Iterator[None]:
    """Processes that are started meanwhile, until `upgrade`, are of the version BURSAR_PREVIOUS (a commit), by default
    of the one before the newest migration. Raises Unavailable where its history is not here."""
    try:
        revision = os.environ.get("BURSAR_PREVIOUS") or _git("log", "-1", "--format=%H", "--", _MIGRATIONS).decode()
        before = revision.strip() + ("" if "BURSAR_PREVIOUS" in os.environ else "^")
        archive = _git("archive", before, "services", "shared")
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable("the history of this checkout is not here") from error
    source = folder / "previous"
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(source, filter="data")
    packages = sorted(str(path) for path in [*source.glob("services/*/src"), *source.glob("shared/*/src")])
    with ExitStack() as patches:
        patches.enter_context(mock.patch.dict(os.environ, {_PATH: os.pathsep.join(packages)}))
        if "internal_port" not in (source / _SETTINGS).read_text():  # a version with one port for everything
            patches.enter_context(mock.patch.object(Ports, "internal_url", Ports.url))
        yield


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout


async def upgrade(school: School, number: int) -> int:
    """One service after the other: it is migrated by its first process of this version, which runs beside the one of
    the previous version; that one ends, and one of this version takes its address."""
    del os.environ[_PATH]  # `previous_version` resets it
    for name in SERVICES[:number]:
        process = school.stack.processes[name]
        port, internal_port = free_ports(2)
        env = {key: value for key, value in process.command.env.items() if key != _PATH}
        current = replace(process.command, env=env, ready_url=_ready_url(env["INTERNAL_PORT"]))
        beside = Process(
            replace(
                current,
                name=f"{name} beside",
                env={**env, "HTTP_PORT": str(port), "INTERNAL_PORT": str(internal_port)},
                ready_url=_ready_url(str(internal_port)),
                log=school.stack.folder / f"logs/{name}_beside.log",
            )
        )
        try:
            await start(beside)
            await asyncio.sleep(BESIDE_SECONDS)
            assert await asyncio.to_thread(process.stop, 60) == 0, process.describe_death()
            process.command = current
            await start(process)
        finally:
            await asyncio.to_thread(beside.stop, 60)
    return number


def _ready_url(internal_port: str) -> str:
    return f"http://127.0.0.1:{internal_port}/readyz"
