"""How long to wait before another attempt."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Exponential with equal jitter: attempt n waits between half and all of first * 2^(n-1), at most `longest`.

    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ (equal jitter)
    """

    first: timedelta = timedelta(seconds=1)
    longest: timedelta = timedelta(minutes=5)
    attempts: int = 12

    def delay(self, attempt: int) -> timedelta:
        """How long to wait after failure number `attempt` (from 1)."""
        ceiling = min(self.first * float(2 ** min(attempt - 1, 20)), self.longest)
        return ceiling * random.uniform(0.5, 1.0)  # noqa: S311  jitter, not a secret

    def exhausted(self, attempt: int) -> bool:
        return attempt >= self.attempts
