"""The invariant is verified in the background: when it is due, and when an admin asks for it.

The work is done in processes of their own: it is mostly computation, and takes a minute of a CPU for 100,000 purchases.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from uuid import UUID, uuid4, uuid5

import structlog
from prometheus_client import Gauge
from sqlalchemy import Text, Uuid, insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from kit.db.database import Database
from kit.db.unit_of_work import utc_now
from kit.runtime import garbage_collection
from kit.runtime.failures import describe
from kit.runtime.sweeps import repeat
from ledger.policy import Policy
from reporting import break_repairs, verification
from reporting.invariant import PARTS, Break, Deadlines
from reporting.tables import invariant_runs
from reporting.verification import InvariantReport, Rules, Students

log = structlog.get_logger(__name__)

LOOK_SECONDS = 3
KEEP_DAYS = 90
"""Runs and breaks that have ended."""
_BREAKS = UUID("8a0d9a3c-43f0-4f5f-9f43-6f3b4d1c7f10")

BREAKS = Gauge("bursar_invariant_breaks", "Breaks of the invariant, by the last verification", ["part"])
FINISHED = Gauge("bursar_invariant_timestamp_seconds", "When all students were last verified")

_DUE = text(
    """
    INSERT INTO invariant_runs (id)
    SELECT :id WHERE NOT EXISTS (
        SELECT FROM invariant_runs WHERE requested_at > now() - make_interval(secs => :seconds)
    )
    """
)
# Two processes do not do the same run. One whose process has died is done again.
_CLAIM = text(
    """
    UPDATE invariant_runs SET claimed_at = now() WHERE id = (
        SELECT id FROM invariant_runs
        WHERE finished_at IS NULL AND (claimed_at IS NULL OR claimed_at < now() - interval '15 minutes')
        ORDER BY requested_at LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING id
    """
).columns(id=Uuid)
_FINISH = text(
    "UPDATE invariant_runs SET finished_at = now(), students = :students, breaks = :breaks, error = :error"
    " WHERE id = :id"
)
# Those that are new, or are back.
_ADD = text(
    """
    INSERT INTO invariant_breaks AS known (id, run_id, part, cause, student_id, purchase_id, program_slug, since)
    VALUES (:id, :run_id, :part, :cause, :student_id, :purchase_id, :program_slug, :since)
    ON CONFLICT (id) DO UPDATE SET run_id = excluded.run_id, ended_at = NULL
    """
)
_OPEN = text("SELECT id FROM invariant_breaks WHERE ended_at IS NULL").columns(id=Uuid)
_END = text(
    "UPDATE invariant_breaks SET ended_at = now() WHERE ended_at IS NULL AND run_id <> :run_id"
    " RETURNING id, part, cause, purchase_id, student_id, requested_at"
).columns(id=Uuid, part=Text, cause=Text, purchase_id=Uuid, student_id=Uuid)
_EXPIRE = (
    text("DELETE FROM invariant_breaks WHERE ended_at < now() - make_interval(days => :days)"),
    text("DELETE FROM invariant_runs WHERE requested_at < now() - make_interval(days => :days)"),
)


_WAITING = text(
    "SELECT id FROM invariant_runs WHERE claimed_at IS NULL AND finished_at IS NULL ORDER BY requested_at LIMIT 1"
).columns(id=Uuid)


async def request(db: AsyncConnection) -> UUID:
    """Asks for a run, in the caller's transaction. Returns its id, or that of one that waits already."""
    waiting: UUID | None = await db.scalar(_WAITING)
    if waiting is not None:
        return waiting
    id = uuid4()
    await db.execute(insert(invariant_runs), {"id": id})
    return id


@dataclass(frozen=True, kw_only=True)
class Runner:
    """every_seconds: from one run to the next that nobody has asked for. processes: that share the students"""

    database: Database
    deadlines: Deadlines
    policy: Policy
    every_seconds: int
    processes: int = 1

    async def run(self, stop: asyncio.Event) -> None:
        for part in PARTS:
            BREAKS.labels(part)
        await repeat(self.sweep, stop, name="invariant", seconds=LOOK_SECONDS)

    async def sweep(self) -> bool:
        """Does the next run. Returns False if there is none."""
        async with self.database.transaction() as db:
            if self.every_seconds:
                await db.execute(_DUE, {"id": uuid4(), "seconds": self.every_seconds})
            id = (await db.execute(_CLAIM)).scalar_one_or_none()
        if id is None:
            return False
        try:
            rules = Rules(now=utc_now(), deadlines=self.deadlines, policy=self.policy)
            report = await verify(self.database, rules, processes=self.processes)
        except Exception as error:
            log.exception("invariant not verified", run=str(id))
            async with self.database.transaction() as db:
                await db.execute(_FINISH, {"id": id, "students": None, "breaks": None, "error": describe(error)})
            return True
        await self._record(id, report)
        return True

    async def _record(self, id: UUID, report: InvariantReport) -> None:
        found = {_id(each): each for each in report.breaks}
        async with self.database.transaction() as db:
            known = set(await db.scalars(_OPEN))
            rows = [_row(break_id, each, run_id=id) for break_id, each in found.items()]
            if rows:
                await db.execute(_ADD, rows)
            ended = (await db.execute(_END, {"run_id": id})).all()
            await break_repairs.record_repaired(db, ended)
            await break_repairs.request(db, found, run_id=id)
            await db.execute(_FINISH, {"id": id, "students": report.students, "breaks": len(found), "error": None})
            for statement in _EXPIRE:
                await db.execute(statement, {"days": KEEP_DAYS})
        for break_id, each in found.items():
            if break_id not in known:
                log.error("invariant broken", part=each.part, purchase=str(each.purchase_id), cause=each.cause)
        if ended:
            log.info("breaks ended", parts=dict(Counter(each.part for each in ended)))
        counts = Counter(each.part for each in found.values())
        for part in PARTS:
            BREAKS.labels(part).set(counts[part])
        FINISHED.set_to_current_time()


async def verify(database: Database, rules: Rules, *, processes: int = 1) -> InvariantReport:
    """All students, in other processes."""
    whole = InvariantReport()
    # not a fork: this process has threads and open connections
    context = multiprocessing.get_context("spawn")
    loop = asyncio.get_running_loop()
    pool = ProcessPoolExecutor(processes, mp_context=context)
    try:
        shares = verification.shares(processes)
        working = [loop.run_in_executor(pool, verify_share, database.url, rules, each) for each in shares]
        for part in await asyncio.gather(*working):
            whole.students += part.students
            whole.breaks += part.breaks
            whole.differences |= part.differences
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # if a share has failed, the others still work
    async with database.snapshot() as db:
        whole.breaks += await verification.nobodys_differences(db, whole.differences)
    return whole


def verify_share(url: str, rules: Rules, students: Students) -> InvariantReport:
    """Runs in a process of its own."""
    garbage_collection.run_rarely()
    return asyncio.run(_verify_share(url, rules, students))


async def _verify_share(url: str, rules: Rules, students: Students) -> InvariantReport:
    database = Database(url, pool_size=1)
    try:
        async with database.snapshot() as db:
            return await verification.verify(db, rules, students)
    finally:
        await database.close()


def _id(each: Break) -> UUID:
    """The same break has the same id in each run."""
    return uuid5(_BREAKS, f"{each.part}/{each.student_id}/{each.purchase_id}/{each.program_slug}/{each.cause}")


def _row(id: UUID, each: Break, *, run_id: UUID) -> dict[str, object]:
    return {
        "id": id,
        "run_id": run_id,
        "part": each.part,
        "cause": each.cause,
        "student_id": each.student_id,
        "purchase_id": each.purchase_id,
        "program_slug": each.program_slug,
        "since": each.since,
    }
