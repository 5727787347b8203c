"""Writes events to the journal in batches: one statement takes everything that arrived during the previous one.

There is no timer and no session: batches grow under load, and without load an event is written immediately. The body of
an event that is there already comes back and is compared: the first body of an id is kept, and another one is refused.
The statement counts the deliveries, too.

While the database is down, writing fails at once, without waiting for it: the event goes to the broker instead.
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
from webhook_gateway.tables import Source

log = structlog.get_logger(__name__)

MAX_BATCH = 500
WRITE_SECONDS = 5.0
PROBE_SECONDS = 0.5

CONFLICTS = Counter("bursar_stripe_conflicts_total", "Events with the id of another event, refused")

_WRITE_DELIVERIES = "SELECT event_id, is_new, body FROM journal_write_deliveries($1, $2, $3, $4, $5)"
_WRITE = "SELECT event_id, is_new, body FROM journal_write($1, $2, $3, $4, $5)"


class JournalDown(Transient):
    """The database did not commit the event."""


class EventConflict(Permanent):
    """Another event with this id is in the journal."""


class Journal:
    def __init__(self, url: str, *, source: Source = Source.WEBHOOK) -> None:
        """`source` of the events that are written. Any other than deliveries needs the worker's login."""
        self._url = url
        self._source = source
        self._connection: asyncpg.Connection[Any] | None = None  # Any: asyncpg's record type is not used
        self._pending: list[tuple[StripeEvent, asyncio.Future[bool]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._probe: asyncio.Task[None] | None = None
        self._error: str | None = None  # why the database is down
        self._lock = asyncio.Lock()

    async def write(self, event: StripeEvent) -> bool:
        """Returns once the event is committed: True, or False if it was there already.

        Raises EventConflict if another event with its id is there, and JournalDown if it may not be committed.
        """
        if self._error is not None:
            raise JournalDown(self._error)
        written: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._pending.append((event, written))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        return await written

    async def ping(self) -> None:
        await self._fetch("SELECT 1")

    async def close(self) -> None:
        if self._probe is not None:
            self._probe.cancel()
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
            finally:  # every caller gets an outcome in any case
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
        columns: list[list[Any]] = [
            [event.id for event in unique],
            [event.type for event in unique],
            [event.body for event in unique],
            [event.signature for event in unique],
        ]
        if self._source is Source.WEBHOOK:
            rows = await self._fetch(_WRITE_DELIVERIES, *columns, len(events) - len(first))
        else:
            rows = await self._fetch(_WRITE, *columns, [self._source] * len(first))
        known = {row["event_id"]: row["body"] for row in rows if not row["is_new"]}
        return [
            True if event is first[event.id] and event.id not in known else self._compare(event, first, known)
            for event in events
        ]

    @staticmethod
    def _compare(
        event: StripeEvent, first: dict[str, StripeEvent], known: dict[str, bytes | None]
    ) -> bool | EventConflict:
        """False if the event is the journaled one. Of one whose month was dropped, only the id is compared."""
        journaled = known[event.id] if event.id in known else first[event.id].body
        if journaled is None or is_same(journaled, event.body):
            return False
        CONFLICTS.inc()
        log.error("event conflict", event_id=event.id, type=event.type)
        return EventConflict("another event with this id is in the journal")

    async def _fetch(self, statement: str, *arguments: object) -> Sequence[Any]:
        try:
            async with self._lock, asyncio.timeout(WRITE_SECONDS):
                if self._connection is None or self._connection.is_closed():
                    self._connection = await asyncpg.connect(self._url, timeout=2, command_timeout=WRITE_SECONDS)
                rows: Sequence[Any] = await self._connection.fetch(statement, *arguments)
        except Exception as error:  # asyncpg raises nearly anything when a connection breaks mid-statement
            if self._connection is not None:
                self._connection.terminate()
                self._connection = None
            self._error = describe(error)
            if self._probe is None or self._probe.done():
                self._probe = asyncio.create_task(self._await_database())
            raise JournalDown(self._error) from error
        self._error = None
        return rows

    async def _await_database(self) -> None:
        while self._error is not None:
            try:
                await self.ping()
            except JournalDown:
                await asyncio.sleep(PROBE_SECONDS)
