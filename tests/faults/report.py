"""The outcome of each group, printed as it comes and kept in docs/faults.jsonl; docs/faults.md is made from it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.faults.outcome import Outcome
from tests.faults.references import ALERTS, ELSEWHERE

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/faults.md"
KEPT = DOCUMENT.with_suffix(".jsonl")
"""A line for the last run of each group, and one for the sum of the long run's rounds."""
LONG = "long"
_HEADINGS = ("group", "what", "day", "faults", "purchases", "events", "lost", "doubled", "unknown mails", "verify")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One group in one run. `events`: those that Stripe has made, each one webhook. `day`: of the run, in UTC."""

    group: str
    what: str
    day: str
    faults: int
    purchases: int
    events: int
    lost: int
    doubled: int
    unknown: int
    dead_letters: int
    verify_holds: bool
    rounds: int = 1

    @property
    def survived(self) -> bool:
        return self.verify_holds and not (self.lost or self.doubled or self.dead_letters)

    @property
    def cells(self) -> tuple[str, ...]:
        verify = "holds" if self.verify_holds else "**does not hold**"
        numbers = (self.faults, self.purchases, self.events, self.lost, self.doubled, self.unknown)
        group = self.group if self.rounds == 1 else f"{self.group}, {self.rounds:,} rounds"
        return (group, self.what, self.day, *(f"{number:,}" for number in numbers), verify)


def print_outcome(outcome: Outcome) -> None:
    """What is missing, and what is there twice."""
    for title, effects in (("lost", outcome.lost), ("doubled", outcome.doubled)):
        for effect in effects:
            print(f"  {title}: {effect}", flush=True)
    if not outcome.verify_holds:
        print(outcome.verify, flush=True)
    if outcome.dead_letters:
        print(f"  {outcome.dead_letters} dead letters more than expected", flush=True)


def read() -> dict[str, Row]:
    """By the group's name."""
    lines = KEPT.read_text().splitlines() if KEPT.exists() else []
    return {row.group: row for row in (Row(**json.loads(line)) for line in lines)}


def keep(row: Row) -> dict[str, Row]:
    """Instead of the row that the group had. Returns all."""
    rows = {**read(), row.group: row}
    KEPT.write_text("".join(json.dumps(asdict(each)) + "\n" for each in rows.values()))
    return rows


def total(first: Row, second: Row) -> Row:
    """Of two runs of one group."""
    return Row(
        group=first.group,
        what=second.what,
        day=second.day,
        rounds=first.rounds + second.rounds,
        faults=first.faults + second.faults,
        purchases=first.purchases + second.purchases,
        events=first.events + second.events,
        lost=first.lost + second.lost,
        doubled=first.doubled + second.doubled,
        unknown=first.unknown + second.unknown,
        dead_letters=first.dead_letters + second.dead_letters,
        verify_holds=first.verify_holds and second.verify_holds,
    )


def write(rows: Sequence[Row], *, not_run: Sequence[str], machine: str) -> None:
    """`rows`: the last run of each group, and the sum of the long run's rounds."""
    lines = [
        "# Faults",
        "",
        f"Written by `make faults` and `make faults-long`: {machine}.",
        "",
        "Each group runs in a system of its own: every service as a process, PostgreSQL and RabbitMQ that wait for",
        "the disk, and the sandboxes of Stripe and of the provider. Purchases are made through checkout and paid on",
        "Stripe's page, some are refunded, and meanwhile the faults are injected (`tests/faults/injections.py`).",
        "Afterward every effect of every purchase is counted (`tests/faults/outcome.py`): the enrollment, its event,",
        "the payment, the receipt, both mails, and the enrollment at the provider; and `bursar verify` is run.",
        "",
        "*Lost* and *doubled* are effects. *Unknown mails*: the process was killed while it sent them, so nobody knows",
        "whether the mail server has them; they are not sent again, and an administrator is alerted.",
        "",
        *_table(_HEADINGS, (row.cells for row in rows)),
        "",
        *([f"Not run on this machine: {', '.join(not_run)}.", ""] if not_run else []),
        "The row `long` is the sum of the rounds of `make faults-long`, which goes on where it was ended."
        if any(row.group == LONG for row in rows)
        else "`make faults-long` has not been run on this machine.",
        "",
        "## Injected by tests",
        "",
        *_table(("what", "tests"), ((what, _names(tests)) for what, tests in ELSEWHERE.items())),
        "",
        "## Alerts",
        "",
        "Each alert of `runbooks/alerts.md`, and the test that provokes it.",
        "",
        *_table(("alert", "test"), ((f"`{alert}`", _names([test])) for alert, test in ALERTS.items())),
    ]
    DOCUMENT.write_text("\n".join(lines) + "\n")


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield "|" + " --- |" * len(headings)
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _names(tests: Iterable[str]) -> str:
    return ", ".join(f"`{test}`" for test in tests)
