"""Writes events to the journal in batches: one INSERT takes everything that arrived during the previous INSERT.

There is no timer and no session: batches grow under load, and without load an event is written immediately. An event
that is there already is read back and compared: the first body of an id is kept, and another one is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import structlog
from prometheus_client import Counter

from kit.runtime.failures import Permanent, Transient, describe
from webhook_gateway.event import StripeEvent, is_same

log = structlog.get_logger(__name__)

MAX_BATCH = 500
WRITE_SECONDS = 5.0

CONFLICTS = Counter("bursar_stripe_conflicts_total", "Events with the id of another event, refused")

# Ordered by id so that two gateways inserting the same events cannot deadlock. A trigger notifies the relay on commit.
_INSERT = """
    INSERT INTO journal (event_id, type, body)
    SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[]) AS each (event_id, type, body)
    ORDER BY each.event_id
    ON CONFLICT (event_id) DO NOTHING
    RETURNING event_id
"""
_READ = "SELECT event_id, body FROM journal WHERE event_id = ANY ($1::text[])"


class JournalDown(Transient):
    """The database did not commit the event."""


class EventConflict(Permanent):
    """Another event with this id is in the journal."""


class Journal:
    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: asyncpg.Connection[Any] | None = None  # Any: asyncpg's record type is not used
        self._pending: list[tuple[StripeEvent, asyncio.Future[bool]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    async def write(self, event: StripeEvent) -> bool:
        """Returns once the event is committed: True, or False if it was there already.

        Raises EventConflict if another event with its id is there, and JournalDown if it may not be committed.
        """
        written: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._pending.append((event, written))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        return await written

    async def ping(self) -> None:
        await self._fetch("SELECT 1")

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close(timeout=5)

    async def _write_all(self) -> None:
        while self._pending:
            batch, self._pending = self._pending[:MAX_BATCH], self._pending[MAX_BATCH:]
            outcomes: Sequence[bool | Exception] = [JournalDown("interrupted")] * len(batch)
            try:
                outcomes = await self._insert([event for event, _ in batch])
            except JournalDown as error:
                outcomes = [error] * len(batch)
            finally:  # whatever happened, every caller gets an outcome
                for (_, written), outcome in zip(batch, outcomes, strict=True):
                    if written.done():
                        continue  # the request was canceled; the row is written all the same
                    if isinstance(outcome, Exception):
                        written.set_exception(outcome)
                    else:
                        written.set_result(outcome)

    async def _insert(self, events: Sequence[StripeEvent]) -> list[bool | Exception]:
        """The outcome of each event: whether it is new, or the error."""
        first: dict[str, StripeEvent] = {}
        for event in events:
            first.setdefault(event.id, event)
        unique = first.values()
        columns = [event.id for event in unique], [event.type for event in unique], [event.body for event in unique]
        new = {row["event_id"] for row in await self._fetch(_INSERT, *columns)}
        stored = {id: first[id].body for id in new}
        if old := list(first.keys() - new):
            stored |= {row["event_id"]: row["body"] for row in await self._fetch(_READ, old)}
        return [
            True if event.id in new and event is first[event.id] else _compare(event, stored.get(event.id))
            for event in events
        ]

    async def _fetch(self, statement: str, *arguments: object) -> Sequence[Any]:
        try:
            async with self._lock, asyncio.timeout(WRITE_SECONDS):
                if self._connection is None or self._connection.is_closed():
                    self._connection = await asyncpg.connect(self._url, timeout=2, command_timeout=WRITE_SECONDS)
                rows: Sequence[Any] = await self._connection.fetch(statement, *arguments)
                return rows
        except Exception as error:  # asyncpg raises nearly anything when a connection breaks mid-statement
            if self._connection is not None:
                self._connection.terminate()
                self._connection = None
            raise JournalDown(describe(error)) from error


def _compare(event: StripeEvent, stored: bytes | None) -> bool | Exception:
    """False if the event is the stored one."""
    if stored is None:
        return JournalDown("neither inserted nor found")
    if is_same(stored, event.body):
        return False
    CONFLICTS.inc()
    log.error("event conflict", event_id=event.id, type=event.type)
    return EventConflict("another event with this id is in the journal")
