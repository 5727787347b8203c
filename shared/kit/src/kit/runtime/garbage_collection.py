"""How often Python looks for cycles of objects that nothing refers to."""

from __future__ import annotations

import gc

COLLECT_AFTER = (10_000, 10, 10)
"""For `gc.set_threshold`. A batch of messages makes thousands of objects and hardly a cycle: with the default (700, 10,
10), looking for cycles takes 5 to 10 % of a consumer's CPU, and a third of a verification's. Five times as much costs
10 to 20 MB."""


def run_rarely() -> None:
    """To be called once, when everything is imported: what exists by now is not looked at again."""
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
