"""Waiting for what happens elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(look: Callable[[], Awaitable[T | None]], *, seconds: float = 15.0, what: str = "") -> T:
    """What `look` finds, as soon as it finds something. Fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = await look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or look.__name__} (last: {found!r})")
        await asyncio.sleep(0.05)
