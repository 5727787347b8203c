"""One group: a system of its own, purchases, faults, and what has become of the purchases."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
from tests.faults import report
from tests.faults.groups import Group
from tests.faults.outcome import dead_letters_of, settled
from tests.faults.purchases import Buyers
from tests.faults.report import Row
from tests.journeys.harness import School

from devstack.stack import Stack, running


def run(name: str, group: Group, *, folder: Path, purchases: int, number: int | None = None, seed: int = 0) -> Row:
    """`purchases`: at least so many, see `Buyers.buy_until`. `number`: see `Group`.
    Raises Unavailable if this machine lacks what the group needs."""
    with group.prepare(folder), running(folder, say=lambda _: None) as stack:
        return asyncio.run(inject(name, group, stack, purchases=purchases, number=number or group.number, seed=seed))


async def inject(name: str, group: Group, stack: Stack, *, purchases: int, number: int, seed: int = 0) -> Row:
    """In a system that is running, which may have made other purchases before."""
    school = School(stack)
    buyers = Buyers(school, seed=seed)
    stop = asyncio.Event()
    before, dead_before = await _events(stack), await asyncio.to_thread(dead_letters_of, school)
    try:
        buying = asyncio.create_task(buyers.buy_until(stop, at_least=purchases))
        try:
            faults = await group.inject(school, number)
        finally:
            stop.set()
        await buying
        expected = dead_before + faults * group.dead_letters
        outcome = await settled(school, buyers.purchases, dead_letters=expected)
    finally:
        await school.http.aclose()
    report.print_outcome(outcome)
    return Row(
        group=name,
        what=group.what,
        day=f"{datetime.now(UTC):%Y-%m-%d}",
        faults=faults,
        purchases=len(buyers.purchases),
        events=await _events(stack) - before,
        lost=len(outcome.lost),
        doubled=len(outcome.doubled),
        unknown=outcome.unknown,
        dead_letters=outcome.dead_letters,
        verify_holds=outcome.verify_holds,
    )


async def _events(stack: Stack) -> int:
    connection = await asyncpg.connect(stack.databases["webhook_gateway"].url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM journal_entries") or 0)
    finally:
        await connection.close()
