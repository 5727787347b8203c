"""How much is refunded when the school cancels an enrollment, as the settings say. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

_POLICY = re.compile(r"\d{1,4}:\d{1,3}(,\d{1,4}:\d{1,3})*|")


@dataclass(frozen=True)
class RefundStep:
    """Up to `days` after the first payment, `percent` of what was paid is refunded."""

    days: int
    percent: int


def cancellation_policy(text: str) -> tuple[RefundStep, ...]:
    """Reads `14:100,30:50`. Raises ValueError unless days increase, percentages do not, and none exceeds 100."""
    plain = text.replace(" ", "")
    if not _POLICY.fullmatch(plain):
        raise ValueError("expected days:percent pairs separated by commas")
    steps = tuple(RefundStep(*map(int, step.split(":"))) for step in plain.split(",") if step)
    for earlier, later in pairwise(steps):
        if later.days <= earlier.days or later.percent > earlier.percent:
            raise ValueError("days must increase and percentages must not")
    if any(step.percent > 100 for step in steps):
        raise ValueError("a percentage cannot exceed 100")
    return steps
