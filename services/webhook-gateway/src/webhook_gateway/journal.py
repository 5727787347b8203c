"""The journal's hot path: whatever waits is written by one INSERT, as soon as no other INSERT is under way.

No timer and no session: under load the batches grow by themselves, without load nobody waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg

from kit.runtime.failures import Transient, describe
from webhook_gateway.event import StripeEvent

MOST_AT_ONCE = 500
WRITE_SECONDS = 5.0

# In the order of the ids, so that two gateways that hold the same events do not lock each other out. A trigger wakes
# the relay when the rows are committed.
_INSERT = """
    INSERT INTO journal (event_id, type, body)
    SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[]) AS each (event_id, type, body)
    ORDER BY each.event_id
    ON CONFLICT (event_id) DO NOTHING
"""


class JournalDown(Transient):
    """The database did not take the event."""


class Journal:
    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: asyncpg.Connection[Any] | None = None
        self._waiting: list[tuple[StripeEvent, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._using = asyncio.Lock()

    async def write(self, event: StripeEvent) -> None:
        """Returns when the event is committed (an event that is there already is). Raises JournalDown."""
        written = asyncio.get_running_loop().create_future()
        self._waiting.append((event, written))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        await written

    async def ping(self) -> None:
        await self._execute("SELECT 1")

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close(timeout=5)

    async def _write_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
            error: Exception = JournalDown("interrupted")
            written = False
            try:
                await self._insert([event for event, _ in batch])
                written = True
            except JournalDown as failed:
                error = failed
            finally:  # whatever has happened, nobody is left waiting
                for _, answer in batch:
                    if answer.done():
                        continue  # the request was canceled; the row is written all the same
                    if written:
                        answer.set_result(None)
                    else:
                        answer.set_exception(error)

    async def _insert(self, events: Sequence[StripeEvent]) -> None:
        unique = {event.id: event for event in events}.values()
        columns = [event.id for event in unique], [event.type for event in unique], [event.body for event in unique]
        await self._execute(_INSERT, *columns)

    async def _execute(self, statement: str, *arguments: object) -> None:
        try:
            async with self._using, asyncio.timeout(WRITE_SECONDS):
                if self._connection is None or self._connection.is_closed():
                    self._connection = await asyncpg.connect(self._url, timeout=2, command_timeout=WRITE_SECONDS)
                await self._connection.execute(statement, *arguments)
        except Exception as error:  # a driver whose connection breaks in the middle raises nearly anything
            if self._connection is not None:
                self._connection.terminate()
                self._connection = None
            raise JournalDown(describe(error)) from error
