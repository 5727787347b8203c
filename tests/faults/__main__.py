"""Injects faults into running systems, and counts what was lost and what happened twice.

    python -m tests.faults                    every group; writes docs/faults.md
    python -m tests.faults GROUP ...          these groups
    python -m tests.faults --long             rounds of SIGKILLs until a million events; goes on where it was ended

Exits with 1 if an effect was lost or has happened twice, or if `bursar verify` does not hold.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tests.faults import report
from tests.faults.injections import GROUPS, SERVICES, Group, kill_services
from tests.faults.report import Row
from tests.faults.run import run

KEPT = Path(__file__).resolve().parents[2] / ".local/faults.jsonl"
"""The rounds of the long run."""
LONG = Group("SIGKILLs of services, round after round", partial(kill_services, SERVICES), 60)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--purchases", type=int, default=60, help="at least so many in each group or round")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--events", type=int, default=1_000_000, help="of the long run, with its earlier rounds")
    parser.add_argument("groups", nargs="*", metavar="group")
    arguments = parser.parse_args()
    if unknown := set(arguments.groups) - GROUPS.keys():
        parser.error(f"no group {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    if arguments.long:
        rows = long_run(events=arguments.events, purchases=arguments.purchases)
    else:
        rows = [measured(name, GROUPS[name], arguments.purchases) for name in arguments.groups or GROUPS]
    if not arguments.long and not arguments.groups:
        rows = [*rows, *kept()]
        report.write(rows, command="make faults", day=f"{datetime.now(UTC):%Y-%m-%d}", machine=machine())
        print("written to docs/faults.md")
    if not all(row.survived for row in rows):
        parser.exit(1)


def measured(name: str, group: Group, purchases: int, *, seed: int = 0) -> Row:
    with tempfile.TemporaryDirectory(prefix="bursar-faults-") as folder:
        row = run(name, group, folder=Path(folder), purchases=purchases, seed=seed)
    print(" | ".join(row.cells), flush=True)
    return row


def long_run(*, events: int, purchases: int) -> Sequence[Row]:
    """Rounds, each in a system of its own, until all of them together have had so many events."""
    rows = report.read(KEPT)
    while sum(row.events for row in rows) < events:
        rows.append(measured("long", LONG, purchases, seed=len(rows)))
        report.add(KEPT, rows[-1])
        print(" | ".join(kept()[0].cells), flush=True)
    return rows


def kept() -> Sequence[Row]:
    """The sum of the rounds of the long run, if there were any."""
    rows = report.read(KEPT)
    return [report.total(rows, group=f"long, {len(rows):,} rounds", what=LONG.what)] if rows else []


def machine() -> str:
    return f"{os.cpu_count()} cores, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
