"""How often one caller may use a route. Counted in this process: for an API that runs once."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from kit.http.auth import Caller
from kit.http.errors import Problem

MOST_CALLERS = 1_000


class RateLimit:
    """At most `requests` in any `seconds`, for each caller."""

    def __init__(self, requests: int, *, seconds: float = 60, clock: Callable[[], float] = time.monotonic) -> None:
        self._requests = requests
        self._seconds = seconds
        self._clock = clock
        self._times: dict[str, deque[float]] = {}

    def check(self, caller: Caller) -> None:
        """Raises a 429 Problem if the caller has made too many requests. A refused request does not count."""
        now = self._clock()
        if len(self._times) > MOST_CALLERS:
            self._times = {id: times for id, times in self._times.items() if times[-1] > now - self._seconds}
        times = self._times.setdefault(str(caller.id), deque())
        while times and times[0] <= now - self._seconds:
            times.popleft()
        if len(times) >= self._requests:
            wait = max(1, round(times[0] + self._seconds - now))
            detail = f"At most {self._requests} such requests in {self._seconds:.0f} s. Retry in {wait} s."
            raise Problem(429, "too_many_requests", detail, headers={"Retry-After": str(wait)})
        times.append(now)
