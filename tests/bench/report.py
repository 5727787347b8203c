"""What a run has measured: printed as it comes, and written to docs/performance.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.stack import Stack

from testkit.postgres_server import version_of as postgres_version
from testkit.rabbit_server import version_of as rabbit_version

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/performance.md"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure. `bare` is what it is compared with; `value` is held against the target.

    limit: what limits it, if the target is not reached
    """

    path: str
    product: float
    bare: float | None = None
    unit: str = "/s"
    at_least: float | None = None
    at_most: float | None = None
    limit: str = ""

    @property
    def value(self) -> float:
        return self.product if self.bare is None else self.product / self.bare

    @property
    def reached(self) -> bool:
        too_low = self.at_least is not None and self.value < self.at_least
        return not too_low and (self.at_most is None or self.value <= self.at_most)

    @property
    def cells(self) -> tuple[str, ...]:
        target = f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"
        bare = "" if self.bare is None else f"{_number(self.bare)} {self.unit}"
        ratio = "" if self.bare is None else f"{self.value:.2f}"
        reached = "yes" if self.reached else "no"
        return (self.path, f"{_number(self.product)} {self.unit}", bare, ratio, target, reached)


BUSY = "**The machine was busy with other work when this run began. Repeat it on an idle one before you rely on it.**"

HEADINGS = ("path", "product", "bare", "ratio", "target", "reached")
WIDTHS = (58, 14, 14, 7, 8, 8)


def print_line(cells: Sequence[str]) -> None:
    first, *others = zip(cells, WIDTHS, strict=True)
    print(first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others), flush=True)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 20 else f"{value:.2f}"


async def machine(stack: Stack) -> str:
    model = next(
        (line.split(":", 1)[1].strip() for line in _cpu_lines() if line.startswith("model name")), platform.processor()
    )
    return (
        f"{os.cpu_count()} cores ({model}), Python {platform.python_version()}, PostgreSQL "
        f"{await postgres_version(stack.postgres.admin_url)}, RabbitMQ {await rabbit_version(stack.amqp_url)}"
    )


def load() -> float:
    """How many processes wanted a core in the last minute."""
    return os.getloadavg()[0]


def _cpu_lines() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def write(
    rows: Sequence[Row], *, command: str, machine: str, loads: tuple[float, float], failed: Sequence[str]
) -> None:
    lines = [
        "# Performance",
        "",
        f"Written by `{command}` on {datetime.now(UTC):%Y-%m-%d}: {machine}.",
        "",
        "Everything ran on this one machine: PostgreSQL and RabbitMQ (both wait for the disk), the processes of the",
        "product, and the client that sends the load. Processes that wanted a core, average of a minute:",
        f"{loads[0]:.1f} at the start, {loads[1]:.1f} at the end.",
        "",
        "*Product* are the services' own processes. *Bare* is the least that could do it, on the same stores,",
        "measured alternately: `tests/bench/bare_consumer.py` (one transaction per message: inbox, fact, row,",
        "outbox) and `tests/bench/bare_gateway.py` (signature, then publish or journal, then answer). Read the ratios:",
        "rates depend on the machine.",
        "",
        *([BUSY, ""] if loads[0] > (os.cpu_count() or 1) else []),
        "| " + " | ".join((*HEADINGS, "what limits it")) + " |",
        "|" + " --- |" * (len(HEADINGS) + 1),
        *(f"| {' | '.join((*row.cells, '' if row.reached else row.limit))} |" for row in rows),
        "",
        *(f"Not measured in this run: {each}." for each in failed),
    ]
    DOCUMENT.write_text("\n".join(lines).rstrip() + "\n")
