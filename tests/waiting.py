"""Waiting for an asynchronous outcome."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(look: Callable[[], Awaitable[T | None]], *, seconds: float = 60.0, what: str = "") -> T:
    """Polls `look` until it returns a true value, and returns it. Raises AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = await look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out after {seconds} s: {what or look.__name__} (last: {found!r})")
        await asyncio.sleep(0.05)
