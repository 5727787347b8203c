"""Injects faults into running systems, and counts what was lost and what happened twice.

    python -m tests.faults                    every group
    python -m tests.faults GROUP ...          these groups
    python -m tests.faults --long             rounds of SIGKILLs until a million events; goes on where it was ended

After each group, docs/faults.md is written from all runs so far (.local/faults.jsonl). Exits with 1 if an effect was
lost or has happened twice, if `bursar verify` does not hold, or if a group cannot be injected on this machine.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from functools import partial
from pathlib import Path

from tests.faults import report
from tests.faults.groups import GROUPS, Group
from tests.faults.injections import SERVICES, kill_services
from tests.faults.report import LONG, Row
from tests.faults.run import run

from testkit.engines import Unavailable

KEPT = Path(__file__).resolve().parents[2] / ".local/faults.jsonl"
"""Every run so far."""
ROUND = Group("SIGKILLs of services, round after round", partial(kill_services, SERVICES), 60)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--purchases", type=int, default=60, help="at least so many in each group or round")
    parser.add_argument("--faults", type=int, help="how often the fault of a group is injected")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--events", type=int, default=1_000_000, help="of the long run, with its earlier rounds")
    parser.add_argument("groups", nargs="*", metavar="group")
    arguments = parser.parse_args()
    if unknown := set(arguments.groups) - GROUPS.keys():
        parser.error(f"no group {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    survived = True
    if arguments.long:
        while (done := rounds()) is None or done.events < arguments.events:
            survived &= measure(LONG, ROUND, arguments.purchases, arguments.faults)
    else:
        for name in arguments.groups or GROUPS:
            survived &= measure(name, GROUPS[name], arguments.purchases, arguments.faults)
    if not survived:
        parser.exit(1)


def measure(name: str, group: Group, purchases: int, faults: int | None) -> bool:
    """Runs the group, and writes the document. Returns whether nothing was lost or doubled."""
    seed = len(report.read(KEPT))
    with tempfile.TemporaryDirectory(prefix="bursar-faults-") as folder:
        try:
            row = run(name, group, folder=Path(folder), purchases=purchases, number=faults, seed=seed)
        except Unavailable as why:
            print(f"{name}: not injected, {why}", flush=True)
            return False
    report.add(KEPT, row)
    print(" | ".join(row.cells), flush=True)
    last = {row.group: row for row in report.read(KEPT) if row.group in GROUPS}
    rows = [last[name] for name in GROUPS if name in last]
    if (done := rounds()) is not None:
        rows.append(done)
        print(" | ".join(done.cells), flush=True)
    report.write(rows, not_run=[name for name in GROUPS if name not in last], machine=machine())
    return row.survived


def rounds() -> Row | None:
    """The sum of the rounds of the long run, if there were any."""
    found = [row for row in report.read(KEPT) if row.group == LONG]
    return report.total(found, group=f"{LONG}, {len(found):,} rounds", what=ROUND.what) if found else None


def machine() -> str:
    return f"{os.cpu_count()} cores, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
