"""LISTEN for rows that became due. Callers also poll, since rows can become due without a notification."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import asyncpg


class Wakeup:
    """In `async with Wakeup(url, channel) as wakeup`, `wakeup.wait(1.0)` returns early if the channel is notified."""

    def __init__(self, url: str, channel: str) -> None:
        self._url = url
        self._channel = channel
        self._event = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Wakeup:
        self._task = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def set(self) -> None:
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Returns when notified, or after `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self._event.clear()

    async def _listen(self) -> None:
        while True:
            connection: asyncpg.Connection[Any] | None = None
            try:
                connection = await asyncpg.connect(self._url, timeout=5)
                closed = asyncio.Event()
                connection.add_termination_listener(lambda _, closed=closed: closed.set())
                await connection.add_listener(self._channel, lambda *_: self._event.set())
                self._event.set()  # for notifications sent before LISTEN
                await closed.wait()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                await asyncio.sleep(1)  # callers keep polling
            finally:
                if connection is not None and not connection.is_closed():
                    connection.terminate()
