"""Refolding: rows follow their facts again, after a rule, a fold or a policy has changed.

Consumers do that for a group of facts whenever one of its events arrives. Refolding does it for groups of which none
arrives: it hands their events, which are stored, to the same function, under the same locks. So it may run beside
consumers, it may be stopped and started again, and groups whose rows are right already change nothing. What follows
from a changed row has the same id as if a consumer had changed it.

Consumers have to run with the new rules before: those of an old one would bring its rows back.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import text

from contracts.envelope import Envelope
from kit.db.database import Database, is_down, lost_a_race, waited_for_a_lock
from kit.db.unit_of_work import Collected, UnitOfWork, utc_now
from kit.messaging import fact_store
from kit.messaging.event_facts import events_of
from kit.runtime.failures import describe, stack

log = structlog.get_logger(__name__)

GROUPS = 20
"""Refolded in one transaction. Few, because it holds the locks of all of them."""
LOCK_TIMEOUT = "2s"
ATTEMPTS = 12
ALL_KEYS = "%"
_FIRST = UUID(int=0)

Apply = Callable[[UnitOfWork, Sequence[Envelope[Any]]], Awaitable[Sequence[object]]]
"""Brings the rows up to date with the groups of these events, and returns the rows that have changed: `apply_all` of a
projection. The events are stored already; their groups may not be locked yet."""

_NEXT_GROUPS = text(
    "SELECT DISTINCT group_id FROM fact_keys WHERE group_id > :after AND key LIKE :pattern"
    " ORDER BY group_id LIMIT :limit"
)


@dataclass
class Refolded:
    """groups: how many were read. rows: how many have changed. events: how many will be published. failed: the groups
    that were skipped because of an error."""

    groups: int = 0
    rows: int = 0
    events: int = 0
    failed: list[UUID] = field(default_factory=list)

    def __str__(self) -> str:
        counts = f"groups read: {self.groups}, rows changed: {self.rows}, events to publish: {self.events}"
        return counts + (f", groups failed: {len(self.failed)}" if self.failed else "")


async def refold(
    database: Database,
    apply: Apply,
    *,
    service: str,
    pattern: str = ALL_KEYS,
    after: UUID = _FIRST,
) -> Refolded:
    """Refolds every group that has a key LIKE `pattern`, in the order of the groups' ids.

    `after`: begins behind this group. An error of one group is logged, and the others go on; what fails because of the
    database is raised.
    """
    result = Refolded()
    while groups := await _next_groups(database, after, pattern):
        await _refold_together(database, apply, service, groups, result)
        after = groups[-1]
        log.info("refolded", groups=result.groups, rows=result.rows, events=result.events, after=str(after))
    return result


async def _next_groups(database: Database, after: UUID, pattern: str) -> list[UUID]:
    async with database.transaction() as db:
        found = await db.scalars(_NEXT_GROUPS, {"after": after, "pattern": pattern, "limit": GROUPS})
        return list(found)


async def _refold_together(
    database: Database, apply: Apply, service: str, groups: Collection[UUID], result: Refolded
) -> None:
    try:
        rows, events = await _commit(database, apply, service, groups)
    except Exception as error:
        if is_down(error) and not waited_for_a_lock(error):
            raise
        if len(groups) > 1:
            for group in groups:
                await _refold_together(database, apply, service, [group], result)
            return
        log.error("group skipped", group=str(*groups), error=describe(error), stack=stack(error))
        rows, events = 0, 0
        result.failed += groups
    result.groups += len(groups)
    result.rows += rows
    result.events += events


async def _commit(database: Database, apply: Apply, service: str, groups: Collection[UUID]) -> tuple[int, int]:
    """How many rows have changed, and how many events will be published."""
    for attempt in range(ATTEMPTS):
        try:
            return await _transaction(database, apply, service, groups)
        except Exception as error:
            if not (lost_a_race(error) or waited_for_a_lock(error)) or attempt == ATTEMPTS - 1:
                raise
            await asyncio.sleep(min(0.01 * 2**attempt, 1))
    raise AssertionError("unreachable")


async def _transaction(database: Database, apply: Apply, service: str, groups: Collection[UUID]) -> tuple[int, int]:
    async with database.transaction() as db:
        await db.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
        events = [
            Envelope(id=each.id, source=service, subject=each.id, time=each.time, data=each.data)
            for each in events_of(await fact_store.in_groups(db, groups))
        ]
        if not events:
            return 0, 0  # joined to another group meanwhile, whose rows that transaction has brought up to date
        collected = Collected()
        changed = await apply(UnitOfWork(db=db, source=service, now=utc_now(), collected=collected), events)
        published = len(collected.messages)
        await collected.write(db)
        return len(changed), published


def refold_command(
    service: str,
    arguments: Sequence[str],
    build: Callable[[], tuple[Database, Apply]],
    *,
    pattern: Callable[[str | None, str | None], str],
) -> int:
    """`python -m <service> refold`. `pattern`: of the keys of a student and a program, None for all of them. Returns
    the exit code: 1 if a group was skipped."""
    parser = argparse.ArgumentParser(prog=f"python -m {service.replace('-', '_')} refold", description=__doc__)
    selection = parser.add_argument_group("which enrollments; both options together: one enrollment")
    selection.add_argument("--student", type=UUID, metavar="ID", help="those of one student")
    selection.add_argument("--program", metavar="SLUG", help="those in one program")
    selection.add_argument("--all", action="store_true", help="all")
    parser.add_argument("--after", type=UUID, default=_FIRST, metavar="GROUP", help="continue after this group")
    chosen = parser.parse_args(arguments)
    if chosen.all == bool(chosen.student or chosen.program):
        parser.error("give --student, --program, or --all")
    student = str(chosen.student) if chosen.student else None

    database, apply = build()

    async def run() -> Refolded:
        try:
            keys = ALL_KEYS if chosen.all else pattern(student, chosen.program)
            return await refold(database, apply, service=service, pattern=keys, after=chosen.after)
        finally:
            await database.close()

    result = asyncio.run(run())
    sys.stdout.write(f"{service}: {result}\n")
    return 1 if result.failed else 0
