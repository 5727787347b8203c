"""Batches: a projection is applied to many messages in one transaction.

A batch is whatever has arrived while the previous one was processed, so there is no timer and no delay without load. If
a batch fails, each of its messages is processed alone: one that cannot be processed hurts none beside it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import text

from contracts.envelope import Envelope
from kit.db.database import Database, is_down, lost_a_race, waited_for_a_lock
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.messaging import inbox
from kit.messaging.projection import Projection
from kit.runtime.failures import describe

log = structlog.get_logger(__name__)

MAX_BATCH = 50
ALONE = 4
"""How many messages of a failed batch are processed at once."""
LOCK_TIMEOUT = "2s"
"""A lock that another transaction holds for longer delays the messages that need it, and no others."""
_RACES = 3


@dataclass(frozen=True)
class _Pending:
    event: Envelope[Any]
    projection: Projection[Any, Any]
    is_new: asyncio.Future[bool]


class Batches:
    """The batches of one queue."""

    def __init__(self, database: Database, *, queue: str, service: str) -> None:
        self._database = database
        self._queue = queue
        self._service = service
        self._pending: deque[_Pending] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def process(self, event: Envelope[Any], projection: Projection[Any, Any]) -> bool:
        """Returns once the event's transaction is committed; False: it is a duplicate. Raises what has failed."""
        pending = _Pending(event, projection, asyncio.get_running_loop().create_future())
        self._pending.append(pending)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._run())
        return await pending.is_new

    async def _run(self) -> None:
        while self._pending:
            batch = [self._pending.popleft() for _ in range(min(len(self._pending), MAX_BATCH))]
            try:
                await self._process(batch)
            except BaseException as error:
                for each in batch:  # whatever happened, every message gets an outcome
                    if not each.is_new.done():
                        each.is_new.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
                if not isinstance(error, Exception):
                    raise

    async def _process(self, batch: Sequence[_Pending]) -> None:
        by_projection: dict[int, list[_Pending]] = {}
        for each in batch:
            by_projection.setdefault(id(each.projection), []).append(each)
        for same in by_projection.values():
            await self._process_together(same)

    async def _process_together(self, batch: Sequence[_Pending]) -> None:
        try:
            new = await self._commit(batch)
        except Exception as error:
            if len(batch) == 1 or (is_down(error) and not waited_for_a_lock(error)):
                raise
            log.warning("batch failed", queue=self._queue, messages=len(batch), error=describe(error))
            await self._process_alone(batch)
            return
        for each in batch:
            if not each.is_new.done():
                each.is_new.set_result(each.event.id in new)
                new -= {each.event.id}  # a second copy in the same batch

    async def _process_alone(self, batch: Sequence[_Pending]) -> None:
        limit = asyncio.Semaphore(ALONE)

        async def process(each: _Pending) -> None:
            async with limit:
                try:
                    new = await self._commit([each])
                except Exception as error:
                    if not each.is_new.done():
                        each.is_new.set_exception(error)
                    return
            if not each.is_new.done():
                each.is_new.set_result(each.event.id in new)

        await asyncio.gather(*(process(each) for each in batch))

    async def _commit(self, batch: Sequence[_Pending]) -> frozenset[str]:
        """The ids of the events that are new to the queue."""
        for race in range(_RACES):
            try:
                return await self._transaction(batch)
            except Exception as error:
                if not lost_a_race(error) or race == _RACES - 1:
                    raise
                await asyncio.sleep(0.01 * 2**race)
        raise AssertionError("unreachable")

    async def _transaction(self, batch: Sequence[_Pending]) -> frozenset[str]:
        events = {each.event.id: each.event for each in batch}
        async with self._database.transaction() as db:
            await db.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
            new = await inbox.claim_all(db, queue=self._queue, event_ids=events)
            if new:
                uow = UnitOfWork(db=db, source=self._service, now=utc_now())
                await batch[0].projection.apply_all(uow, [events[id] for id in events if id in new])
        return new
