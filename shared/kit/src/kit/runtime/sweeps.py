"""A sweep that a process repeats in the background until it stops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from kit.runtime.outages import Outage


async def repeat(sweep: Callable[[], Awaitable[bool]], stop: asyncio.Event, *, name: str, seconds: float) -> None:
    """Sweeps again after so many seconds, also after an error; at once if the sweep says that there is more."""
    outage = Outage("sweep", sweep=name)
    while not stop.is_set():
        more = False
        try:
            more = await sweep()
            outage.ended()
        except Exception as error:
            outage.failed(error)
        if not more:
            try:
                async with asyncio.timeout(seconds):
                    await stop.wait()
            except TimeoutError:
                continue
