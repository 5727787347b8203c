"""Composition root of reporting: builds each role's process from its settings."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from uuid import UUID

from fastapi import FastAPI

import reporting
from kit.db.unit_of_work import utc_now
from kit.http.export import export_router
from kit.personal_data.erasure_requests import erasure_requests
from kit.runtime.process import Command, Process, Role
from kit.runtime.service import api_process, consumers_process, create_api, database_of, migrate_service, relay_process
from kit.runtime.sweeps import repeat
from reporting import audit_trail, event_log, invariant_api, invariant_runs, verification
from reporting.api import router
from reporting.chain import Verification
from reporting.consumers import consumers
from reporting.figures import api as figures_api
from reporting.figures import stored_events
from reporting.personal_data import PERSONAL
from reporting.settings import ApiSettings, RelaySettings, WorkerSettings
from reporting.topology import ERASURES, PUBLISHES, QUEUES, SERVICE

MAINTAIN_SECONDS = 3600


def app(settings: ApiSettings) -> FastAPI:
    return create_api(
        SERVICE,
        description=reporting.__doc__,
        routers=[router, invariant_api.router, figures_api.router, export_router(PERSONAL, to_students=False)],
        consumers=[consumers(), erasure_requests(ERASURES)],
        publishes=PUBLISHES,
        tags={
            "reporting": "The audit trail, and the timeline of each purchase.",
            "figures": "Figures of a period, with their definitions and targets.",
            "invariant": "Whether every payment has its enrollment, and every enrollment its payment.",
        },
        settings=settings,
    )


def api() -> Process:
    settings = ApiSettings()
    return api_process(app(settings), settings)


def consume() -> Process:
    return consumers_process(SERVICE, WorkerSettings(), [consumers(), erasure_requests(ERASURES)], QUEUES)


def relay() -> Process:
    """Publishes retries, maintains the partitions of events, and verifies the invariant."""
    settings = RelaySettings()
    database = database_of(settings)

    async def maintain() -> bool:
        async with database.transaction() as db:
            await event_log.maintain(db, keep=timedelta(days=settings.keep_events_days))
        return False

    maintenance = partial(repeat, maintain, name="event partitions", seconds=MAINTAIN_SECONDS)
    runner = invariant_runs.Runner(
        database=database,
        deadlines=settings.deadlines,
        policy=settings.policy,
        every_seconds=settings.invariant_every_seconds,
        processes=settings.invariant_processes,
    )
    return relay_process(
        SERVICE,
        settings,
        background=[maintenance, runner.run],
        personal=PERSONAL,
        own_queues=QUEUES,
        close=[database.close],
    )


def migrate() -> None:
    migrate_service(WorkerSettings(), reporting.__file__, QUEUES)


def verify_audit(arguments: Sequence[str]) -> int:
    """Verifies the chain of audit records. Returns 1 if it is broken."""
    parser = argparse.ArgumentParser(prog="python -m reporting verify-audit", description=verify_audit.__doc__)
    parser.parse_args(arguments)
    database = database_of(WorkerSettings())

    async def run() -> Verification:
        try:
            async with database.transaction() as db:
                return await audit_trail.verify(db)
        finally:
            await database.close()

    found = asyncio.run(run())
    if found.broken is not None:
        sys.stdout.write(f"broken at record {found.broken}: {found.reason}\n")
        return 1
    without = f" ({found.erased} without their reasons, which were erased)" if found.erased else ""
    sys.stdout.write(f"{found.records} audit records hold{without}; the last hash is {found.hash.hex()}\n")
    return 0


def verify(arguments: Sequence[str]) -> int:
    """Verifies the invariant over all students. Returns 0 only if it holds."""
    parser = argparse.ArgumentParser(prog="python -m reporting verify", description=verify.__doc__)
    parser.add_argument("--student", type=UUID, metavar="ID", help="only of one student")
    parser.add_argument("--processes", type=int, default=2, help="that share the students")
    chosen = parser.parse_args(arguments)
    settings = WorkerSettings()
    database = database_of(settings)
    rules = verification.Rules(now=utc_now(), deadlines=settings.deadlines, policy=settings.policy)

    async def run() -> verification.InvariantReport:
        try:
            if chosen.student is not None:
                async with database.snapshot() as db:
                    return await verification.verify_student(db, chosen.student, rules)
            return await invariant_runs.verify(database, rules, processes=chosen.processes)
        finally:
            await database.close()

    report = asyncio.run(run())
    for each in report.breaks:
        about = f"student {each.student_id}, purchase {each.purchase_id}, {each.program_slug}"
        sys.stdout.write(f"{each.part}: {about}: {each.cause} (since {each.since.isoformat(timespec='seconds')})\n")
    sys.stdout.write(f"{report.students} students read, {len(report.breaks)} breaks\n")
    return 0 if report.holds else 1


def rebuild_figures(arguments: Sequence[str]) -> int:
    """Counts the figures again from the stored events."""
    argparse.ArgumentParser(prog="python -m reporting rebuild-figures", description=rebuild_figures.__doc__).parse_args(
        arguments
    )
    database = database_of(WorkerSettings())

    async def run() -> int:
        try:
            return await stored_events.rebuild(database)
        finally:
            await database.close()

    sys.stdout.write(f"{asyncio.run(run())} events read\n")
    return 0


ROLES: dict[str, Role] = {"api": api, "consumers": consume, "relay": relay, "migrate": migrate}
COMMANDS: dict[str, Command] = {"verify": verify, "verify-audit": verify_audit, "rebuild-figures": rebuild_figures}
