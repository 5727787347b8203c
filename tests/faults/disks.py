"""Disks that are full, and one that has lost what was written last."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from tests.faults.injections import as_admin, start
from tests.journeys.harness import School
from tests.journeys.test_reconciliation import impatient_reconciler, rows

from devstack.services import ADMIN
from devstack.stack import ROOT
from testkit.engines import Unavailable

DISK_MEGABYTES = 600
FULL_SECONDS = 5.0
ALARM_SECONDS = 3.0
LOST_SECONDS = 4.0
_ALARMS = (  # rabbitmqctl's command and values: raised, as before
    ("set_vm_memory_high_watermark", "0.000001", "0.4"),
    ("set_disk_free_limit", "1000000GB", "50MB"),
)
_GATEWAY = "webhook_gateway"


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """PostgreSQL's folder is a file system of its own, in memory. Raises Unavailable if this user cannot mount one."""
    disk = folder / "postgres"
    disk.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable("no file system can be mounted by this user") from error
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


async def fill_disk(school: School, number: int) -> int:
    """No table can grow and, since a new file is begun, no transaction can be logged: the server ends by itself."""
    ballast = school.stack.folder / "postgres/ballast"
    for _ in range(number):
        await asyncio.to_thread(_fill, ballast)
        try:
            await asyncio.sleep(FULL_SECONDS / 2)
            await _begin_log_files(school)
            await asyncio.sleep(FULL_SECONDS / 2)
        finally:
            ballast.unlink()
        await asyncio.to_thread(school.stack.postgres.start)  # if it could not recover without space
        await asyncio.sleep(FULL_SECONDS)
    return number


def _fill(ballast: Path) -> None:
    for size in (2**20, 2**12):
        try:
            with ballast.open("ab", buffering=0) as file:
                while file.write(bytes(size)):
                    pass
        except OSError:
            continue


async def _begin_log_files(school: School) -> None:
    """Until there is no room for one, at most sixteen."""
    for _ in range(16):
        try:
            await as_admin(school, "SELECT pg_logical_emit_message(true, 'faults', '')", "SELECT pg_switch_wal()")
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            return


async def raise_alarms(school: School, number: int) -> int:
    """The broker reads nothing from those who publish, until the alarm is over."""
    for _ in range(number):
        for command, raised, before in _ALARMS:
            await asyncio.to_thread(school.stack.rabbit.control, command, raised)
            try:
                await asyncio.sleep(ALARM_SECONDS)
            finally:
                await asyncio.to_thread(school.stack.rabbit.control, command, before)
            await asyncio.sleep(ALARM_SECONDS)
    return number * len(_ALARMS)


async def restore_older_journal(school: School, number: int) -> int:
    """As after the failure of a disk. Stripe lists the events that the gateway has accepted and does not have."""
    processes = [school.stack.processes[name] for name in (_GATEWAY, ADMIN)]
    for _ in range(number):
        for process in processes:
            await asyncio.to_thread(process.stop, 60)
        await as_admin(
            school,
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{_GATEWAY}'",
            f"CREATE DATABASE older TEMPLATE {_GATEWAY}",
        )
        for process in processes:
            await start(process)
        await asyncio.sleep(LOST_SECONDS)
        for process in processes:
            await asyncio.to_thread(process.kill)
        journaled = await _journaled(school)
        await as_admin(school, f"DROP DATABASE {_GATEWAY} WITH (FORCE)", f"ALTER DATABASE older RENAME TO {_GATEWAY}")
        await _set_rights(school)
        assert await _journaled(school) < journaled, "nothing was lost"
        for process in processes:
            await start(process)
    async with impatient_reconciler(school):
        await asyncio.sleep(LOST_SECONDS)
    return number


async def _journaled(school: School) -> int:
    (row,) = await rows(school, _GATEWAY, "SELECT count(*) FROM journal_entries")
    return int(row["count"])


async def _set_rights(school: School) -> None:
    """A database that was made from a template has those that every database has."""
    url = urlunsplit(urlsplit(school.stack.postgres.admin_url)._replace(path=f"/{_GATEWAY}"))
    connection = await asyncpg.connect(url)
    try:
        await connection.execute((ROOT / "deploy/postgres/rights.sql").read_text())
    finally:
        await connection.close()
