"""Verifications that staff ask for, that a command starts, or that are due: the relay does one after the other."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID, uuid4

import structlog
from prometheus_client import Gauge
from pydantic_core import to_jsonable_python
from sqlalchemy import Boolean, Column, DateTime, Integer, Table, Text, Uuid, func, insert, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.audit import Actor
from kit.db.database import KIT_TABLES, Database
from kit.messaging import audit
from kit.messaging.verification import Comparison, Repair, Report, verify
from kit.runtime.failures import describe
from kit.runtime.sweeps import repeat

log = structlog.get_logger(__name__)

LOOK_SECONDS = 3.0
KEPT = 50
"""Finished verifications that are kept."""

verifications = Table(
    "verifications",
    KIT_TABLES,
    Column("id", Uuid, primary_key=True),
    Column("requested_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("actor_id", Text, nullable=False),
    Column("actor_role", Text, nullable=False),
    Column("repair", Boolean, nullable=False),
    Column("again", Boolean, nullable=False),
    Column("claimed_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    Column("report", JSONB(none_as_null=True)),
)
repairs = Table(
    "repairs",
    KIT_TABLES,
    Column("cause", Text, primary_key=True),
    Column("verification_id", Uuid, nullable=False),
    Column("table_name", Text, nullable=False),
    Column("row_id", Text, nullable=False),
    Column("column_name", Text),
    Column("requested_at", DateTime(timezone=True)),
    Column("repaired_at", DateTime(timezone=True)),
    Column("times", Integer, nullable=False, server_default="1"),
)
"""What was repaired: each cause once, unless an operator asks for it again. `requested_at`: of a lost event, when its
publisher was asked for it; `repaired_at` is None until it is back."""

DIFFERENCES = Gauge("bursar_row_differences", "Rows that differ from their facts, by the last verification", ["table"])
FINISHED = Gauge("bursar_verified_timestamp_seconds", "When the last verification was finished")

# Two relays of a service do not do the same one. One whose relay has died is done again after an hour.
_CLAIM = text(
    """
    UPDATE verifications SET claimed_at = now() WHERE id = (
        SELECT id FROM verifications
        WHERE finished_at IS NULL AND (claimed_at IS NULL OR claimed_at < now() - interval '1 hour')
        ORDER BY requested_at LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING id, actor_id, actor_role, repair, again
    """
).columns(id=Uuid)
_FINISH = text("UPDATE verifications SET finished_at = now(), report = CAST(:report AS jsonb) WHERE id = :id")
_DUE = text(
    """
    INSERT INTO verifications (id, actor_id, actor_role, repair, again)
    SELECT :id, 'schedule', 'service', false, false
    WHERE NOT EXISTS (SELECT FROM verifications WHERE requested_at > now() - make_interval(secs => :seconds))
    """
)
_EXPIRE = text(
    """
    DELETE FROM verifications WHERE id IN (
        SELECT id FROM verifications WHERE finished_at IS NOT NULL ORDER BY requested_at DESC OFFSET :kept
    )
    """
)
_WAITING = text(
    """
    SELECT id FROM verifications
    WHERE claimed_at IS NULL AND finished_at IS NULL AND repair = :repair AND again = :again
    ORDER BY requested_at LIMIT 1
    """
).columns(id=Uuid)


async def request(db: AsyncConnection, *, actor: Actor, repair: bool = False, again: bool = False) -> UUID:
    """Asks the relay for a verification, in the caller's transaction. Returns its id.

    One that waits already, and does the same, is not asked for twice.
    """
    waiting: UUID | None = await db.scalar(_WAITING, {"repair": repair, "again": again})
    if waiting is not None:
        return waiting
    id = uuid4()
    row = {"id": id, "actor_id": actor.id, "actor_role": actor.role, "repair": repair, "again": again}
    await db.execute(insert(verifications), row)
    return id


class Verifier:
    """Of one service. `every_seconds`: how often it verifies without being asked; 0: never."""

    def __init__(
        self, database: Database, comparisons: Sequence[Comparison], *, service: str, every_seconds: int = 0
    ) -> None:
        self._database = database
        self._comparisons = comparisons
        self._service = service
        self._every_seconds = every_seconds
        for comparison in comparisons:
            DIFFERENCES.labels(comparison.name)

    async def run(self, stop: asyncio.Event) -> None:
        await repeat(self.sweep, stop, name="verification", seconds=LOOK_SECONDS)

    async def sweep(self) -> bool:
        """Does the next one. Returns False if there is none."""
        async with self._database.transaction() as db:
            if self._every_seconds:
                await db.execute(_DUE, {"id": uuid4(), "seconds": self._every_seconds})
            row = (await db.execute(_CLAIM)).one_or_none()
        if row is None:
            return False
        actor = Actor(id=row.actor_id, role=row.actor_role)
        repair = Repair(verification_id=row.id, actor=actor, again=row.again) if row.repair else None
        try:
            report = as_json(await self._verify(repair))
        except Exception as error:
            log.exception("verification failed", verification=str(row.id))
            report = {"holds": False, "error": describe(error), "counts": {}, "differences": []}
        async with self._database.transaction() as db:
            await db.execute(_FINISH, {"id": row.id, "report": json.dumps(report)})
            await db.execute(_EXPIRE, {"kept": KEPT})
        return True

    async def _verify(self, repair: Repair | None) -> Report:
        report = await verify(self._database, self._comparisons, service=self._service, repair=repair)
        for comparison in self._comparisons:
            DIFFERENCES.labels(comparison.name).set(0)
        for table, count in report.tables.items():
            DIFFERENCES.labels(table).set(count)
        FINISHED.set_to_current_time()
        return report


def as_json(report: Report) -> dict[str, Any]:
    found = {"holds": report.holds, "counts": dict(report.counts), "differences": list(map(asdict, report.differences))}
    return dict(to_jsonable_python(found, fallback=str))


def verify_command(
    service: str, arguments: Sequence[str], build: Callable[[], tuple[Database, Sequence[Comparison]]]
) -> int:
    """`python -m <service> verify`. Returns 0 only if nothing differs, or all of it was repaired."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {service.replace('-', '_')} verify",
        description="Compares the rows of this service with its facts.",
    )
    parser.add_argument("--repair", action="store_true", help="bring rows in line with the facts, where these allow it")
    parser.add_argument("--again", action="store_true", help="also rows that were repaired before")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--operator", metavar="NAME", help="who you are, for the audit trail; default: this user")
    chosen = parser.parse_args(arguments)
    database, comparisons = build()
    actor = audit.operator(chosen.operator)
    repair = Repair(verification_id=uuid4(), actor=actor, again=chosen.again) if chosen.repair else None

    async def run() -> Report:
        try:
            return await verify(database, comparisons, service=service, repair=repair)
        finally:
            await database.close()

    report = asyncio.run(run())
    if chosen.json:
        sys.stdout.write(json.dumps(as_json(report)) + "\n")
        return 0 if report.holds else 1
    for each in report.differences:
        reason = f" ({each.reason})" if each.reason else ""
        what = f"{each.table} {each.row} {each.column or ''}".rstrip()
        sys.stdout.write(f"{each.outcome}: {what}: {each.stored!s}, expected {each.expected!s}{reason}\n")
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(report.counts.items()))
    sys.stdout.write(f"{service}: {counts or 'nothing differs'}\n")
    return 0 if report.holds else 1
