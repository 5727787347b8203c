"""Writes events to the journal in batches: one INSERT takes everything that arrived during the previous INSERT.

There is no timer and no session: batches grow under load, and without load an event is written immediately.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg

from kit.runtime.failures import Transient, describe
from webhook_gateway.event import StripeEvent

MAX_BATCH = 500
WRITE_SECONDS = 5.0

# Ordered by id so that two gateways inserting the same events cannot deadlock. A trigger notifies the relay on commit.
_INSERT = """
    INSERT INTO journal (event_id, type, body)
    SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[]) AS each (event_id, type, body)
    ORDER BY each.event_id
    ON CONFLICT (event_id) DO NOTHING
"""


class JournalDown(Transient):
    """The database did not commit the event."""


class Journal:
    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: asyncpg.Connection[Any] | None = None  # Any: asyncpg's record type is not used
        self._pending: list[tuple[StripeEvent, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    async def write(self, event: StripeEvent) -> None:
        """Returns once the event is committed, or was already there. Raises JournalDown."""
        written = asyncio.get_running_loop().create_future()
        self._pending.append((event, written))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        await written

    async def ping(self) -> None:
        await self._execute("SELECT 1")

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close(timeout=5)

    async def _write_all(self) -> None:
        while self._pending:
            batch, self._pending = self._pending[:MAX_BATCH], self._pending[MAX_BATCH:]
            error: Exception | None = JournalDown("interrupted")
            try:
                await self._insert([event for event, _ in batch])
                error = None
            except JournalDown as failure:
                error = failure
            finally:  # whatever happened, every caller gets an outcome
                for _, written in batch:
                    if written.done():
                        continue  # the request was canceled; the row is written all the same
                    if error is None:
                        written.set_result(None)
                    else:
                        written.set_exception(error)

    async def _insert(self, events: Sequence[StripeEvent]) -> None:
        unique = {event.id: event for event in events}.values()
        columns = [event.id for event in unique], [event.type for event in unique], [event.body for event in unique]
        await self._execute(_INSERT, *columns)

    async def _execute(self, statement: str, *arguments: object) -> None:
        try:
            async with self._lock, asyncio.timeout(WRITE_SECONDS):
                if self._connection is None or self._connection.is_closed():
                    self._connection = await asyncpg.connect(self._url, timeout=2, command_timeout=WRITE_SECONDS)
                await self._connection.execute(statement, *arguments)
        except Exception as error:  # asyncpg raises nearly anything when a connection breaks mid-statement
            if self._connection is not None:
                self._connection.terminate()
                self._connection = None
            raise JournalDown(describe(error)) from error
