"""Injects faults into running systems, and counts what was lost and what happened twice.

    python -m tests.faults                    every group
    python -m tests.faults GROUP ...          these groups
    python -m tests.faults --long             rounds of SIGKILLs until a million events; goes on where it was ended

After each group, docs/faults.md is written from the last run of each (docs/faults.jsonl). Exits with 1 if an effect was
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
from tests.faults.report import LONG
from tests.faults.run import run

from testkit.engines import Unavailable

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
        while (done := report.read().get(LONG)) is None or done.events < arguments.events:
            survived &= measure(LONG, ROUND, arguments.purchases, arguments.faults)
    else:
        for name in arguments.groups or GROUPS:
            survived &= measure(name, GROUPS[name], arguments.purchases, arguments.faults)
    if not survived:
        parser.exit(1)


def measure(name: str, group: Group, purchases: int, faults: int | None) -> bool:
    """Runs the group, and writes the document. Returns whether nothing was lost or doubled."""
    before = report.read().get(LONG) if name == LONG else None
    seed = before.rounds if before else 0
    with tempfile.TemporaryDirectory(prefix="bursar-faults-") as folder:
        try:
            row = run(name, group, folder=Path(folder), purchases=purchases, number=faults, seed=seed)
        except Unavailable as why:
            print(f"{name}: not injected, {why}", flush=True)
            return False
    print(" | ".join(row.cells), flush=True)
    rows = report.keep(report.total(before, row) if before else row)
    report.write(
        [rows[each] for each in (*GROUPS, LONG) if each in rows],
        not_run=[each for each in GROUPS if each not in rows],
        machine=machine(),
    )
    return row.survived


def machine() -> str:
    return f"{os.cpu_count()} cores, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
