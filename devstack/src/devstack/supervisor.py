"""Keeps processes alive: one that dies is reported with the end of its log, and started again with a growing pause."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from testkit.processes import Process

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
SETTLED_AFTER = 60.0
"""Seconds of life after which earlier deaths are forgiven."""


@dataclass
class _Ward:
    process: Process
    pause: float = FIRST_PAUSE
    born: float = 0.0
    due: float | None = None


class Supervisor:
    """`tick` is called now and then by whoever waits anyway; there is no thread."""

    def __init__(
        self, processes: Iterable[Process], say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._say = say
        self._wards = [_Ward(process, born=clock()) for process in processes]

    def tick(self) -> None:
        """Notices deaths, starts again what is due."""
        now = self._clock()
        for ward in self._wards:
            if ward.process.alive:
                if now - ward.born > SETTLED_AFTER:
                    ward.pause = FIRST_PAUSE
            elif ward.due is None:
                ward.due = now + ward.pause
                self._say(f"{ward.process.describe_death()}\n(starts again in {ward.pause:.1f} s)")
                ward.pause = min(LONGEST_PAUSE, ward.pause * 2)
            elif now >= ward.due:
                ward.due, ward.born = None, now
                ward.process.start()
                self._say(f"{ward.process.name} is started again (pid {ward.process.pid})")
