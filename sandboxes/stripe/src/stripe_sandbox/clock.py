"""The time of an object: its test clock's frozen time, else the sandbox clock.

The sandbox clock is system time plus an offset that the operator can increase. Webhook signatures and retry delays use
system time, because the receiver checks them against its own clock.
"""

from __future__ import annotations

import calendar
import time
from datetime import UTC, datetime

from stripe_sandbox.store import Obj, Store

DAY = 86_400
_STEP = {"day": DAY, "week": 7 * DAY}


class Clock:
    """All times are Unix seconds, without fractions."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.offset = 0.0

    def now(self, test_clock: str | None = None) -> int:
        """The time of a test clock, or of the sandbox clock."""
        if test_clock is not None:
            return int(self._store.get("test_helpers.test_clock", test_clock)["frozen_time"])
        return int(time.time() + self.offset)

    def now_for(self, customer: str | None) -> int:
        """The time of a customer's objects."""
        return self.now(self.test_clock_of(customer))

    def test_clock_of(self, customer: str | None) -> str | None:
        holder: Obj | None = self._store.find(customer) if customer else None
        return holder.get("test_clock") if holder else None

    def set(self, test_clock: str | None, moment: int) -> None:
        """Sets a clock. `timeline` processes what falls due in between."""
        if test_clock is not None:
            self._store.get("test_helpers.test_clock", test_clock)["frozen_time"] = moment
        else:
            self.offset = moment - time.time()


def add_interval(start: int, interval: str, count: int) -> int:
    """`start` plus `count` intervals. The 31st becomes the last day of a shorter month."""
    if interval in _STEP:
        return start + _STEP[interval] * count
    months = count * (12 if interval == "year" else 1)
    at = datetime.fromtimestamp(start, UTC)
    year, month = divmod(at.year * 12 + at.month - 1 + months, 12)
    day = min(at.day, calendar.monthrange(year, month + 1)[1])
    return int(at.replace(year=year, month=month + 1, day=day).timestamp())


def next_boundary(anchor: int, after: int, interval: str, count: int) -> int:
    """The first period boundary after `after`, counted from the anchor so that short months cause no drift."""
    n = 1
    while (boundary := add_interval(anchor, interval, count * n)) <= after:
        n += 1
    return boundary
