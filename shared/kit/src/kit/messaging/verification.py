"""Verification: the rows of a service are those that its facts say, and every fact that it has taken is still there.

A row may be changed, deleted or added by hand, or by a restored backup. Each comparison reads everything in one
snapshot, page by page, and locks nothing. A repair brings the rows of one group of facts in line in one transaction, by
the code that consumers use, so that what follows is published as ever. What facts do not say is reported only.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol
from uuid import UUID

import structlog
from pydantic_core import to_jsonable_python
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.audit import Act, Actor
from kit.db.database import Database
from kit.db.unit_of_work import Collected, UnitOfWork, utc_now
from kit.messaging import audit
from kit.messaging.refold import LOCK_TIMEOUT
from kit.runtime.failures import describe

log = structlog.get_logger(__name__)

Outcome = Literal["found", "repaired", "not_repairable", "repaired_before", "failed"]
MOST = 1_000
"""Differences that a report lists; all are counted."""
HIDDEN = "(personal data)"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A stored value that is not the expected one.

    row:      the row's id
    column:   None: the whole row is missing (`stored` is None), or is too much (`expected` is None)
    unit:     what is repaired together with it, such as a group of facts
    reason:   why it cannot be repaired, or how
    """

    table: str
    row: str
    column: str | None
    stored: Any
    expected: Any
    unit: str
    reason: str | None = None
    outcome: Outcome = "found"

    @property
    def cause(self) -> str:
        """The same for the same row, column and expected value: a cause is repaired once."""
        named = [self.table, self.row, self.column, to_jsonable_python(self.expected, fallback=str)]
        return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()


class Comparison(Protocol):
    """Of some tables of a service with its facts."""

    @property
    def name(self) -> str: ...

    def differences(self, db: AsyncConnection) -> AsyncIterator[Sequence[Difference]]:
        """All of them, in pages. `db` is a snapshot."""
        ...

    async def differences_of(self, db: AsyncConnection, unit: str) -> Sequence[Difference]:
        """Those of one unit, in the transaction that repairs it."""
        ...

    async def repair(self, uow: UnitOfWork, differences: Sequence[Difference]) -> None:
        """Brings the rows of one unit in line. What facts do not say stays as it is."""
        ...


@dataclass
class Report:
    """`counts`: how many differences there are of each outcome. `differences`: the first MOST of them."""

    counts: Counter[Outcome] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    tables: Counter[str] = field(default_factory=Counter)

    @property
    def holds(self) -> bool:
        """Whether nothing differs that was not repaired."""
        return self.counts.total() == self.counts["repaired"]

    def add(self, found: Collection[Difference]) -> None:
        for each in found:
            self.counts[each.outcome] += 1
            if each.outcome != "repaired":
                self.tables[each.table] += 1
            if len(self.differences) < MOST:
                self.differences.append(each)


@dataclass(frozen=True, kw_only=True)
class Repair:
    """`again`: also what was repaired before and is broken again."""

    verification_id: UUID
    actor: Actor
    again: bool = False


async def verify(
    database: Database, comparisons: Sequence[Comparison], *, service: str, repair: Repair | None = None
) -> Report:
    """Compares everything. With `repair`, each unit that differs is brought in line in a transaction of its own.

    As long as facts are missing, rows are not repaired: they would follow from what is left.
    """
    report = Report()
    is_complete = True
    for comparison in comparisons:
        found = [each async for page in _pages(database, comparison) for each in page]
        if repair is not None and is_complete:
            units = dict.fromkeys(each.unit for each in found)
            found = [
                each
                for unit in units
                for each in await _repair_unit(
                    database, comparison, service, repair, [each for each in found if each.unit == unit]
                )
            ]
        is_complete = is_complete and not (comparison.name == FACTS and found)
        report.add(found)
    for each in report.differences:
        log.warning(
            "row differs", table=each.table, row=each.row, column=each.column, outcome=each.outcome, reason=each.reason
        )
    return report


FACTS = "facts"
"""The name of the comparison that has to hold before rows are repaired."""


async def _pages(database: Database, comparison: Comparison) -> AsyncIterator[Sequence[Difference]]:
    async with database.snapshot() as db:
        async for page in comparison.differences(db):
            yield page


async def _repair_unit(
    database: Database, comparison: Comparison, service: str, repair: Repair, found: Sequence[Difference]
) -> Sequence[Difference]:
    try:
        return await _transaction(database, comparison, service, repair, found[0].unit)
    except Exception as error:
        log.exception("repair failed", unit=found[0].unit, error=describe(error))
        return [replace(each, outcome="failed", reason=describe(error)) for each in found]


_REPAIRED_BEFORE = text("SELECT cause FROM repairs WHERE cause = ANY (CAST(:causes AS text[]))")
_REPAIRED = text(
    "INSERT INTO repairs (cause, verification_id, table_name, row_id, column_name, repaired_at)"
    " VALUES (:cause, :verification_id, :table, :row, :column, :now)"
    " ON CONFLICT (cause) DO UPDATE SET times = repairs.times + 1, repaired_at = excluded.repaired_at,"
    " verification_id = excluded.verification_id"
)


async def _transaction(
    database: Database, comparison: Comparison, service: str, repair: Repair, unit: str
) -> Sequence[Difference]:
    """The differences of the unit, with what has become of them."""
    async with database.transaction() as db:
        await db.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
        before = await comparison.differences_of(db, unit)
        if not before:
            return ()  # gone meanwhile
        causes = {"causes": [each.cause for each in before]}
        known = set(await db.scalars(_REPAIRED_BEFORE, causes))
        if known and not repair.again:
            return [replace(each, outcome="repaired_before" if each.cause in known else "found") for each in before]
        collected = Collected()
        uow = UnitOfWork(db=db, source=service, now=utc_now(), collected=collected)
        await comparison.repair(uow, before)
        await collected.write(db)
        left = {each.cause for each in await comparison.differences_of(db, unit)}
        repaired = [each for each in before if each.cause not in left]
        for each in repaired:
            await _record(uow, each, repair)
        await collected.write(db)
        return [replace(each, outcome="not_repairable" if each.cause in left else "repaired") for each in before]


async def _record(uow: UnitOfWork, each: Difference, repair: Repair) -> None:
    values = {"cause": each.cause, "table": each.table, "row": each.row, "column": each.column}
    await uow.db.execute(_REPAIRED, {**values, "now": uow.now, "verification_id": repair.verification_id})
    name = each.column or "row"
    act = Act.of(
        "row.repaired",
        each.table,
        each.row,
        before={name: to_jsonable_python(each.stored, fallback=str)},
        after={name: to_jsonable_python(each.expected, fallback=str)},
        reason=f"verification {repair.verification_id}",
    )
    await audit.publish(uow, act, repair.actor)
