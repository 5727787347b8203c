"""What a process depends on beside its own database and queues: asked now and then, and shown at /readyz.

A dependency that is down does not make a process unready: its jobs are retried, and everything else goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from prometheus_client import Gauge

from kit.http.health import Check
from kit.runtime.failures import describe
from kit.runtime.outages import Outage
from kit.runtime.sweeps import repeat

SECONDS = 60.0
CHECK_SECONDS = 15.0
UNCHECKED = "not checked yet"
UP = Gauge("bursar_dependency_up", "1 if the dependency was available when it was last asked, else 0", ["dependency"])


class Dependencies:
    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks
        self._outages = {name: Outage(f"dependency {name}") for name in checks}
        self.outcomes: dict[str, str] = dict.fromkeys(checks, UNCHECKED)
        """By dependency: "ok", or what is wrong."""

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set."""
        await repeat(self.check, stop, name="dependencies", seconds=SECONDS)

    async def check(self) -> bool:
        """Asks all of them. Returns whether to ask again at once: never."""
        await asyncio.gather(*(self._ask(name, check) for name, check in self._checks.items()))
        return False

    async def _ask(self, name: str, check: Check) -> None:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await check()
        except Exception as error:
            self.outcomes[name] = describe(error)
            self._outages[name].failed(error)
        else:
            self.outcomes[name] = "ok"
            self._outages[name].ended()
        UP.labels(name).set(self.outcomes[name] == "ok")
