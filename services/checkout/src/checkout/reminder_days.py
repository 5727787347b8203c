"""When the payer of an unpaid invoice is reminded, as the settings say. Pure."""

from __future__ import annotations

import re
from itertools import pairwise

REMINDER_DAYS = (1, 7, 14)
"""The default."""
_DAYS = re.compile(r"[1-9]\d{0,2}(,[1-9]\d{0,2})*")


def reminder_days(text: str) -> tuple[int, ...]:
    """Reads `1,7,14`: days after the due date. Raises ValueError unless they ascend."""
    plain = text.replace(" ", "")
    if not _DAYS.fullmatch(plain):
        raise ValueError("expected days after the due date, separated by commas")
    days = tuple(int(day) for day in plain.split(","))
    if any(later <= earlier for earlier, later in pairwise(days)):
        raise ValueError("days must ascend")
    return days
