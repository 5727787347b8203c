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

Outcome = Literal["found", "repaired", "requested", "not_repairable", "repaired_before", "failed"]
"""`requested`: an event is lost, and its publisher was asked to publish it again; it is repaired once it is back."""
MOST = 1_000
"""Differences that a report lists; all are counted."""
HIDDEN = "(personal data)"
FACTS = "facts"
"""The name of the comparison that has to hold before rows are repaired."""
TAKEN = "in the inbox"
SCHEDULE = Actor(id="schedule", role="service")
"""Who asks for a verification that is due."""


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

    @classmethod
    def of_row(
        cls, table: str, id: object, column: str | None, stored: Any, expected: Any, reason: str | None = None
    ) -> Difference:
        """Of a row that is repaired by itself."""
        row = str(id)
        return cls(table=table, row=row, column=column, stored=stored, expected=expected, unit=row, reason=reason)

    @property
    def is_lost_event(self) -> bool:
        """Only its publisher can bring it back."""
        return self.table == FACTS and self.column is None

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
    if any(comparison.name == FACTS for comparison in comparisons):
        report.add(await _returned_events(database, service, SCHEDULE if repair is None else repair.actor))
    is_complete = True
    for comparison in comparisons:
        found = [each async for page in _pages(database, comparison) for each in page]
        if repair is not None and is_complete:
            units: dict[str, list[Difference]] = {}
            for each in found:
                units.setdefault(each.unit, []).append(each)
            found = [
                each
                for own in units.values()
                for each in await _repair_unit(database, comparison, service, repair, own)
            ]
        is_complete = is_complete and not (comparison.name == FACTS and found)
        report.add(found)
    for each in report.differences:
        log.warning(
            "row differs", table=each.table, row=each.row, column=each.column, outcome=each.outcome, reason=each.reason
        )
    return report


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


_REPAIRED_BEFORE = text(
    "SELECT cause, repaired_at IS NULL AS waits FROM repairs WHERE cause = ANY (CAST(:causes AS text[]))"
)
_REPAIRED = text(
    "INSERT INTO repairs (cause, verification_id, table_name, row_id, column_name, requested_at, repaired_at)"
    " VALUES (:cause, :verification_id, :table, :row, :column, :requested_at, :repaired_at)"
    " ON CONFLICT (cause) DO UPDATE SET times = repairs.times + 1, repaired_at = excluded.repaired_at,"
    " requested_at = excluded.requested_at, verification_id = excluded.verification_id"
)
_RETURNED = text(
    "UPDATE repairs SET repaired_at = :now WHERE table_name = :facts AND repaired_at IS NULL"
    " AND EXISTS (SELECT FROM facts WHERE facts.event_id = repairs.row_id) RETURNING row_id, verification_id"
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
        known = {row.cause: row.waits for row in await db.execute(_REPAIRED_BEFORE, causes)}
        if known and not repair.again:
            return [replace(each, outcome=_unrepaired(known.get(each.cause))) for each in before]
        collected = Collected()
        uow = UnitOfWork(db=db, source=service, now=utc_now(), collected=collected)
        await comparison.repair(uow, before)
        await collected.write(db)
        left = {each.cause for each in await comparison.differences_of(db, unit)}
        outcomes = [(each, _outcome(each, left)) for each in before]
        for each, outcome in outcomes:
            if outcome != "not_repairable":
                await _record(uow, each, repair)
        await collected.write(db)
        return [replace(each, outcome=outcome) for each, outcome in outcomes]


def _unrepaired(waits: bool | None) -> Outcome:
    """`waits`: whether its publisher was asked for it, and it is not back; None: it was never repaired."""
    if waits is None:
        return "found"
    return "requested" if waits else "repaired_before"


def _outcome(each: Difference, left: Collection[str]) -> Outcome:
    if each.is_lost_event:
        return "requested"
    return "not_repairable" if each.cause in left else "repaired"


async def _record(uow: UnitOfWork, each: Difference, repair: Repair) -> None:
    requested = each.is_lost_event
    values = {
        **{"cause": each.cause, "table": each.table, "row": each.row, "column": each.column},
        "requested_at": uow.now if requested else None,
        "repaired_at": None if requested else uow.now,
        "verification_id": repair.verification_id,
    }
    await uow.db.execute(_REPAIRED, values)
    reason = f"verification {repair.verification_id}"
    if requested:
        await audit.publish(uow, Act.of("event.requested", each.table, each.row, reason=reason), repair.actor)
        return
    name = each.column or "row"
    act = Act.of(
        "row.repaired",
        each.table,
        each.row,
        before={name: to_jsonable_python(each.stored, fallback=str)},
        after={name: to_jsonable_python(each.expected, fallback=str)},
        reason=reason,
    )
    await audit.publish(uow, act, repair.actor)


async def _returned_events(database: Database, service: str, actor: Actor) -> Sequence[Difference]:
    """The lost events that were asked for and are back: each is reported once."""
    async with database.transaction() as db:
        uow = UnitOfWork(db=db, source=service, now=utc_now())
        rows = (await db.execute(_RETURNED, {"now": uow.now, "facts": FACTS})).all()
        for row in rows:
            reason = f"verification {row.verification_id}"
            act = Act.of("row.repaired", FACTS, row.row_id, before={"row": None}, after={"row": TAKEN}, reason=reason)
            await audit.publish(uow, act, actor)
        return [replace(lost_event(row.row_id), outcome="repaired", reason="it is back") for row in rows]


def lost_event(event_id: str) -> Difference:
    """An event that was taken into the inbox and is not among the facts."""
    return Difference(
        table=FACTS,
        row=event_id,
        column=None,
        stored=None,
        expected=TAKEN,
        unit=f"event {event_id}",
        reason="its publisher has to publish it again",
    )
