"""What a loop logs about a failure that repeats: once, then ever more rarely, and when it is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import structlog

from kit.runtime.failures import describe

log = structlog.get_logger(__name__)

FIRST_SECONDS = 60.0
LONGEST_SECONDS = 3600.0


class Outage:
    """`work`: what fails, as the logs call it. `fields`: logged with every line. `clock`: seconds, monotonic."""

    def __init__(self, work: str, *, clock: Callable[[], float] = time.monotonic, **fields: Any) -> None:
        self._work = work
        self._fields = fields
        self._clock = clock
        self._began = 0.0
        self._due = 0.0
        self._interval = FIRST_SECONDS
        self.failures = 0
        """Since it last succeeded."""

    def failed(self, error: BaseException, **fields: Any) -> None:
        """Logs the first failure, and later ones after a minute, two, four and so on, at least every hour."""
        now = self._clock()
        self.failures += 1
        if self.failures == 1:
            self._began, self._due, self._interval = now, now, FIRST_SECONDS
        if now >= self._due:
            self._due, self._interval = now + self._interval, min(self._interval * 2, LONGEST_SECONDS)
            log.warning(f"{self._work} failed", error=describe(error), failures=self.failures, **self._fields, **fields)

    def ended(self) -> None:
        """Call it after each success: the first one after failures is logged."""
        if self.failures:
            seconds = round(self._clock() - self._began, 1)
            log.info(f"{self._work} succeeded", after_failures=self.failures, after_seconds=seconds, **self._fields)
            self.failures = 0
