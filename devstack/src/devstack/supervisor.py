"""Restarts processes that die, with exponential backoff, and reports each death with the end of the log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from testkit.processes import Process

FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
STABLE_SECONDS = 60.0
"""Uptime after which the backoff is reset."""


@dataclass
class _Supervised:
    process: Process
    delay: float = FIRST_DELAY
    started: float = 0.0
    restart_at: float | None = None


class Supervisor:
    """Has no thread: call `tick` a few times per second."""

    def __init__(
        self, processes: Iterable[Process], say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._say = say
        self._supervised = [_Supervised(process, started=clock()) for process in processes]

    def tick(self) -> None:
        """Reports new deaths and restarts processes whose delay has passed."""
        now = self._clock()
        for each in self._supervised:
            if each.process.alive:
                if now - each.started > STABLE_SECONDS:
                    each.delay = FIRST_DELAY
            elif each.restart_at is None:
                each.restart_at = now + each.delay
                self._say(f"{each.process.describe_death()}\n(restarting in {each.delay:.1f} s)")
                each.delay = min(LONGEST_DELAY, each.delay * 2)
            elif now >= each.restart_at:
                each.restart_at, each.started = None, now
                each.process.start()
                self._say(f"{each.process.name} restarted (pid {each.process.pid})")
