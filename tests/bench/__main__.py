"""`make bench`: what the product does per second, relative to the least that could do it, on the same stores.

    make bench         everything (BENCH_EVENTS=10000), under 20 minutes; writes docs/performance.md
    make bench-quick   everything but growth and scaling out, about three minutes; writes it too
    make bench-large   the figures with ten million old rows

Needs nothing but what the tests need: it starts a private PostgreSQL and RabbitMQ and removes them at the end.
With names of sections as arguments (enrollment and the other consumers, scale-out, gateway, relays, end-to-end, memory,
old-rows), runs these alone, and writes nothing: `.venv/bin/python -m tests.bench --size quick enrollment`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import traceback
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import partial

from tests.bench import consumers, end_to_end, gateway, memory, old_rows, relays, report
from tests.bench.http_load import percentile
from tests.bench.report import Row
from tests.bench.stack import CONSUMERS, QUEUES, Stack, started


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured. `rounds` of product and bare alternate; their medians count."""

    events: int
    rounds: int
    seconds: float
    old_rows: tuple[int, int] | None
    scale_out: bool


FULL = Size(events=10_000, rounds=3, seconds=15, old_rows=(10_000, 1_000_000), scale_out=True)
QUICK = Size(events=1_500, rounds=1, seconds=4, old_rows=None, scale_out=False)
LARGE = Size(events=10_000, rounds=3, seconds=15, old_rows=(10_000, 10_000_000), scale_out=False)

Section = Callable[[Stack, Size], AsyncIterator[Row]]
_LIMITS = {
    "enrollment": "CPU of the one process: parsing, FastStream's path per message, the fold",
    "instructor_assignment": "CPU of the one process, and statements per program under its lock",
    "milady_integration": "CPU of the one process, and statements per changed enrollment",
    "notifications": "CPU of the one process: parsing, and the plan of all messages about each student of a batch",
    "checkout": "CPU of the one process: parsing, the fold, and the rows of six packages per payment",
}


async def of_consumers(package: str, stack: Stack, size: Size) -> AsyncIterator[Row]:
    product, bare = await consumers.compare(stack, package, events=size.events, rounds=size.rounds)
    target = 3.0 if package == "enrollment" else 2.0
    path = f"consumers: {package.replace('_', '-')}"
    yield Row(path=path, product=product, bare=bare, at_least=target, limit=_LIMITS[package])


async def of_scale_out(stack: Stack, size: Size) -> AsyncIterator[Row]:
    if size.scale_out:
        four, one = await consumers.scale_out(stack, events=size.events, rounds=size.rounds)
        path = f"4 enrollment consumers / 1 ({2000 * consumers.DELAY:.0f} ms from their database)"
        limit = "locks: their batches are about the same purchases"
        yield Row(path=path, product=four, bare=one, at_least=3.0, limit=limit)


async def of_gateway(stack: Stack, size: Size) -> AsyncIterator[Row]:
    product, publish, journal = await gateway.compare(stack, events=size.events, rounds=size.rounds)
    limit = "two cores: the API, its relay, both stores and the client share them"
    yield Row(path="gateway / publish, then answer", product=product, bare=publish, at_least=2.0, limit=limit)
    yield Row(path="gateway / journal only", product=product, bare=journal, at_least=0.75, limit=limit)
    at = 0.3 * product
    alive, dead = await gateway.waits(stack, per_second=at, seconds=size.seconds, rounds=size.rounds)
    path = f"p99 with the broker dead / alive, at {at:,.0f}/s"
    yield Row(path=path, product=dead, bare=alive, unit="ms", at_most=1.1, limit="scheduling on two cores")
    at = 0.05 * product
    alone, flooded = await gateway.flooded(stack, per_second=at, seconds=size.seconds, rounds=size.rounds)
    path = f"p99 at {at:,.0f}/s, with {10 * at:,.0f} forgeries/s / without"
    yield Row(
        path=path, product=flooded, bare=alone, unit="ms", at_most=1.25, limit="one process checks all signatures"
    )


async def of_relays(stack: Stack, size: Size) -> AsyncIterator[Row]:
    outbox, journal, bare = await relays.measure(stack, events=size.events, rounds=size.rounds)
    limit = "CPU: of the one process, for publishing and (journal) translating, and of the broker's five queues"
    yield Row(path="relay of an outbox / publish, then answer", product=outbox, bare=bare, at_least=1.0, limit=limit)
    yield Row(path="relay of the journal / publish, then answer", product=journal, bare=bare, at_least=1.0, limit=limit)


async def of_end_to_end(stack: Stack, size: Size) -> AsyncIterator[Row]:
    capacity = await end_to_end.capacity(stack, size.events)
    delays = await end_to_end.delays(stack, per_second=0.3 * capacity, seconds=size.seconds)
    path = f"200 to open enrollment, p99 at 30 % of {capacity:,.0f}/s"
    yield Row(path=path, product=percentile(delays, 0.99), unit="ms", at_most=100, limit="four processes on two cores")
    down, clearing = await end_to_end.recovery(stack, per_second=0.5 * capacity, seconds=size.seconds)
    path = "backlog clears after an outage of the broker, at half load"
    yield Row(
        path=path,
        product=clearing,
        bare=down,
        unit="s",
        at_most=1.1,
        limit="reconnecting, and four processes on two cores",
    )


async def of_memory(stack: Stack, size: Size) -> AsyncIterator[Row]:
    for package in QUEUES:
        found = memory.resident_megabytes(stack, package)
        path = f"memory of {package.replace('_', '-')}, role all"
        yield Row(path=path, product=found, unit="MB", at_most=120, limit="imported libraries")


async def of_old_rows(stack: Stack, size: Size) -> AsyncIterator[Row]:
    if size.old_rows is None:
        return
    few, many = await old_rows.measure(stack, size.old_rows, events=size.events, rounds=size.rounds)
    beside = f"product / bare, {size.old_rows[1]:,} old rows / {size.old_rows[0]:,}"
    for name, before, after in (
        ("enrollment consumer", few.consumer, many.consumer),
        ("outbox relay", few.outbox_relay, many.outbox_relay),
        ("journal relay", few.journal_relay, many.journal_relay),
    ):
        path = f"{name}: {beside}"
        yield Row(
            path=path, product=after, bare=before, unit="", at_least=0.8, limit="the tables' indexes outgrow the cache"
        )


SECTIONS: Mapping[str, Section] = {
    **{package.replace("_", "-"): partial(of_consumers, package) for package in CONSUMERS},
    "scale-out": of_scale_out,
    "gateway": of_gateway,
    "relays": of_relays,
    "end-to-end": of_end_to_end,
    "memory": of_memory,
    "old-rows": of_old_rows,
}


async def measure(stack: Stack, size: Size, names: list[str]) -> tuple[list[Row], list[str]]:
    """The rows, and the sections that failed."""
    rows, failed = [], []
    report.print_line(report.HEADINGS)
    for name in names:
        try:
            async for row in SECTIONS[name](stack, size):
                report.print_line(row.cells)
                rows.append(row)
        except Exception:  # the other figures still count
            traceback.print_exc()
            failed.append(name)
    return rows, failed


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=["full", "quick", "large"], default="full")
    parser.add_argument("sections", nargs="*", metavar="section")
    arguments = parser.parse_args()
    if unknown := set(arguments.sections) - SECTIONS.keys():
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    size = {"full": FULL, "quick": QUICK, "large": LARGE}[arguments.size]
    if events := os.environ.get("BENCH_EVENTS"):
        size = Size(**{**vars(size), "events": int(events)})
    names = arguments.sections or (["old-rows"] if arguments.size == "large" else list(SECTIONS))
    began = report.load()
    with started() as stack:
        machine = asyncio.run(report.machine(stack))
        print(f"{machine}; load {began:.1f}", flush=True)
        rows, failed = asyncio.run(measure(stack, size, names))
    if names == list(SECTIONS):
        command = "make bench" if arguments.size == "full" else f"make bench-{arguments.size}"
        command = f"BENCH_EVENTS={events} {command}" if events else command
        report.write(rows, command=command, machine=machine, loads=(began, report.load()), failed=failed)
        print(f"written to {report.DOCUMENT.relative_to(report.DOCUMENT.parents[1])}")
    if failed:
        parser.exit(1, f"failed: {', '.join(failed)}\n")


if __name__ == "__main__":
    main()
