"""How long the invariant takes over generated purchases: `python -m tests.bench.verification --purchases 100000`.

Prints seconds: nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
from tests.bench.histories import History
from tests.databases import migrated

import reporting
from contracts.envelope import Envelope
from contracts.notifications import NotificationSent
from kit.db.database import Database
from ledger.policy import DEFAULT_POLICY
from reporting import event_log, invariant_runs, verification
from reporting.settings import InvariantSettings
from testkit import postgres_server as pg
from testkit.servers import postgres

_OF_STRIPE = re.compile(r'"(?:pi|ch|cs|re|du)_[0-9a-f-]{36}"')
TOGETHER = 200
"""Purchases whose events are inserted together."""


def envelopes(number: int) -> Iterator[Envelope[Any]]:
    """Everything that is published about a purchase, its welcome mail included."""
    history = History("verification", number)
    for each in history.envelopes():
        # ids as Stripe makes them: without hyphens
        body = _OF_STRIPE.sub(lambda found: found[0].replace("-", ""), each.data.model_dump_json())
        yield replace(each, data=type(each.data).model_validate_json(body))
    sent = NotificationSent(
        notification_id=history.id("welcome"),
        template="welcome",
        channel="email",
        recipient="student",
        student_id=history.student_id,
        purchase_id=history.purchase_id,
    )
    yield Envelope(
        id=f"{history.id('welcome')}/{sent.type}",
        source="notifications",
        subject=str(history.purchase_id),
        time=datetime.now(UTC),
        data=sent,
    )


async def filled(database: Database, purchases: int) -> int:
    """Returns how many events there are."""
    count = 0
    for first in range(0, purchases, TOGETHER):
        numbers = range(first, min(first + TOGETHER, purchases))
        received = [each for number in numbers for each in envelopes(number)]
        count += len(received)
        async with database.transaction() as db:
            await event_log.append(db, received)
    return count


async def measure(urls: pg.Database, purchases: int, processes: int, profile: str | None) -> None:
    """profile: in this process, for cProfile"""
    database, owner = Database(urls.url), Database(urls.owner_url)
    try:
        events = await filled(database, purchases)
        async with owner.transaction() as db:
            await db.execute(text("ANALYZE events"))  # as autovacuum does it
        settings = InvariantSettings()
        later = datetime.now(UTC) + timedelta(days=2)
        deadlines = replace(settings.deadlines, stripe=timedelta(days=9))  # nothing was compared with Stripe
        rules = verification.Rules(now=later, deadlines=deadlines, policy=DEFAULT_POLICY)
        started = time.perf_counter()
        if profile:
            with cProfile.Profile() as profiler:
                async with database.snapshot() as db:
                    report = await verification.verify(db, rules)
            profiler.dump_stats(profile)
        else:
            report = await invariant_runs.verify(database, rules, processes=processes)
        seconds = time.perf_counter() - started
    finally:
        await database.close()
        await owner.close()
    sys.stdout.write(
        f"{purchases} purchases, {events} events, {processes} processes: {seconds:.1f} s, "
        f"{report.students / seconds:.0f} students/s, {len(report.breaks)} breaks\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--purchases", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--profile", metavar="FILE", help="verify in this process, and write cProfile's statistics")
    chosen = parser.parse_args()
    with postgres() as server:
        database = migrated(server, "bench_verification", reporting.__file__)
        asyncio.run(measure(database, chosen.purchases, chosen.processes, chosen.profile))


if __name__ == "__main__":
    main()
