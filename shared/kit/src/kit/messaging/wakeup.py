"""When to look again for rows that are due: soon while there are some, and on a notification when there are none.

NOTIFY takes a lock of the whole cluster until its transaction has ended (PostgreSQL's `PreCommit_Notify` in async.c:
"must be serialized"), so commits notify only if somebody is idle. A loop that has found nothing for a second says that
it is idle by a row that the trigger `notify_idle` looks for. Two transactions may cross: one that has looked for idle
workers before the row was committed, and commits its own rows after the worker has looked for the last time. So the
worker goes on looking until every transaction that was open when its row was committed has ended. One that has written
nothing by then has yet to run the trigger, whose query sees the row.

The row is committed without waiting for the disk: a server that has lost it has lost the connection too, and the worker
writes it again. So the first message after a pause does not wait for the row's deletion to be durable.

What becomes due by the time alone notifies nobody: it is found by a look every SWEEP_SECONDS.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import asyncpg

POLL_SECONDS = 0.05
"""Between two looks of a loop that is not idle."""
FIRST_POLL_SECONDS = 0.005
"""After a look that has found something: more is likely to come. Doubled after each that finds nothing."""
IDLE_AFTER_SECONDS = 1.0
SWEEP_SECONDS = 1.0
"""Between two looks of an idle loop that is not notified."""
REFRESH_SECONDS = 60.0
"""How often an idle loop writes its row again. `retention` deletes rows that are much older: their process is dead."""

_OPEN = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
_OLDEST = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
_MARK = """
    INSERT INTO idle_workers (id, channel) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET since = now()
"""
_FAILED = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError)
"""InternalClientError: the server has ended the connection, and the driver has not seen the end of it yet."""


class Wakeup:
    """In `async with Wakeup(url, channel, stop) as wakeup`, a loop looks for rows, and then `await wakeup.wait(found)`.

    It returns at once when `stop` is set.
    """

    def __init__(self, url: str, channel: str, stop: asyncio.Event) -> None:
        self._url = url
        self._channel = channel
        self._stop = stop
        self._id = uuid4()
        self._notified = asyncio.Event()
        self._connection: asyncpg.Connection[Any] | None = None
        self._closed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._last_found = time.monotonic()
        self._poll_seconds = POLL_SECONDS
        self._idle_since: float | None = None
        self._open_until: int | None = None
        """Transactions before this one may not have seen our row. None: all of them have ended."""

    async def __aenter__(self) -> Wakeup:
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._set_on_stop())]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._set_busy()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def set(self) -> None:
        """Ends a wait."""
        self._notified.set()

    @property
    def idle(self) -> bool:
        """Whether the next row that is added notifies this loop."""
        return self._idle_since is not None and self._open_until is None

    async def wait(self, *, found: bool) -> None:
        """Returns when it is time to look again. `found`: whether the last look has found something."""
        now = time.monotonic()
        if found:
            self._last_found = now
            self._poll_seconds = FIRST_POLL_SECONDS
            await self._set_busy()
        elif self._idle_since is None or now - self._idle_since > REFRESH_SECONDS:
            if now - self._last_found >= IDLE_AFTER_SECONDS:
                await self._set_idle()
        elif self._open_until is not None:
            if await self._ended(self._open_until):
                self._open_until = None
                return  # the last look
        elif await self.pause(SWEEP_SECONDS):
            self._last_found = time.monotonic()
            await self._set_busy()
            return
        else:
            return
        await self.pause(self._poll_seconds)
        self._poll_seconds = min(2 * self._poll_seconds, POLL_SECONDS)

    async def pause(self, seconds: float) -> bool:
        """Waits for `seconds`. Returns True at once if notified."""
        try:
            async with asyncio.timeout(seconds):
                await self._notified.wait()
        except TimeoutError:
            return False
        if not self._stop.is_set():
            self._notified.clear()
        return True

    async def back_off(self, seconds: float) -> None:
        """Waits for `seconds`, also if notified: after a failure, each new row would start another attempt."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    async def _set_idle(self) -> None:
        if self._connection is not None:
            with self._replacing():
                await self._connection.execute(_MARK, self._id, self._channel)
                self._open_until = await self._connection.fetchval(_OPEN)
                self._idle_since = time.monotonic()

    async def _set_busy(self) -> None:
        if self._idle_since is not None:
            self._idle_since = None
            if self._connection is not None:
                with self._replacing():
                    await self._connection.execute("DELETE FROM idle_workers WHERE id = $1", self._id)

    async def _ended(self, transaction: int) -> bool:
        """Whether every transaction before this one has ended."""
        if self._connection is not None:
            with self._replacing():
                return bool(await self._connection.fetchval(_OLDEST) >= transaction)
        return False

    @contextlib.contextmanager
    def _replacing(self) -> Iterator[None]:
        """What fails is left to polling; a connection that cannot be used anymore is replaced."""
        connection, closed = self._connection, self._closed
        try:
            yield
        except _FAILED:
            if connection is not None and connection.is_closed():
                closed.set()

    async def _listen(self) -> None:
        while True:
            connection: asyncpg.Connection[Any] | None = None
            try:
                connection = await asyncpg.connect(
                    self._url, timeout=5, command_timeout=5, server_settings={"synchronous_commit": "off"}
                )
                self._closed = closed = asyncio.Event()
                connection.add_termination_listener(lambda _, closed=closed: closed.set())
                await connection.add_listener(self._channel, lambda *_: self._notified.set())
                self._connection = connection
                await closed.wait()
            except _FAILED:
                await asyncio.sleep(1)  # callers keep polling
            finally:
                self._connection = None
                self._idle_since = None  # notifications may have been missed
                if connection is not None and not connection.is_closed():
                    connection.terminate()

    async def _set_on_stop(self) -> None:
        await self._stop.wait()
        self.set()
