"""Batches: many messages of a queue share one transaction.

A batch is what has arrived while the previous one was processed, so there is no timer and no delay without load.
The inbox, the facts, a projection's rows, messages and jobs are each one statement for all of it; handlers run one
after the other. If a batch fails, each of its messages is processed alone: one that cannot be processed hurts none
beside it.

The sizes belong together:

    MAX_BATCH             messages of a transaction: beyond it the share of BEGIN, COMMIT and the shared statements is
                          small, and the locks that it holds are held longer
    topology.PREFETCH     twice that: one batch is processed while the next one arrives
    ALONE                 messages of failed batches that are processed at once, in the whole process
    connections           one for each queue's batch, ALONE, one to keep what has failed, one for readiness
    MAX_SECONDS           handlers that take longer together are run alone: the locks of a batch are held until its end
    LOCK_TIMEOUT          a batch waits so long for locks that others hold; then its messages are processed alone, and
    ALONE_LOCK_TIMEOUT    each waits so long; those that still wait are rescheduled. So a lock that is held forever
                          delays the messages that do not need it by at most LOCK_TIMEOUT + MAX_BATCH / ALONE *
                          ALONE_LOCK_TIMEOUT, 4.1 seconds
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import deque
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.envelope import Envelope
from kit.db.database import Database, is_down, lost_a_race, waited_for_a_lock
from kit.db.unit_of_work import Collected, UnitOfWork, utc_now
from kit.messaging import inbox
from kit.messaging.inbox import Handler
from kit.messaging.subscriber import EventFilter
from kit.personal_data import erased
from kit.runtime.failures import describe
from kit.runtime.trace import cause_of

log = structlog.get_logger(__name__)

MAX_BATCH = 50
ALONE = 4
MAX_SECONDS = 5.0
LOCK_TIMEOUT = "1s"
ALONE_LOCK_TIMEOUT = "250ms"
_RACES = 3
_SET_LOCK_TIMEOUT = text(
    f"SELECT set_config('lock_timeout', :value, true), pg_advisory_xact_lock_shared({erased.LOCK})"
)


def connections(queues: int) -> int:
    """How many connections the consumers of so many queues need."""
    return queues + ALONE + 2


class Stopping(Exception):
    """The process stops before the message was processed."""


class _TooSlow(Exception):
    """The handlers of this batch have taken longer than MAX_SECONDS."""


@dataclass(frozen=True)
class _Pending:
    event: Envelope[Any]
    handler: Handler
    filter: EventFilter
    context: contextvars.Context
    """Of the message's own coroutine; its handler runs in it."""
    is_new: asyncio.Future[bool]


class Batches:
    """The batches of one queue. `alone`: shared by all queues of a process."""

    def __init__(self, database: Database, *, queue: str, service: str, alone: asyncio.Semaphore | None = None) -> None:
        self._database = database
        self._queue = queue
        self._service = service
        self._alone = alone or asyncio.Semaphore(ALONE)
        self._pending: deque[_Pending] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._stopping = False
        self._context = contextvars.copy_context()  # no message's: the first one would name all that is logged

    async def process(self, event: Envelope[Any], handler: Handler, filter: EventFilter) -> bool:
        """Returns once the event's transaction is committed; False: it is a duplicate. Raises what has failed.

        `filter` says how the event is processed: together with others, or by the handler.
        """
        if self._stopping:
            raise Stopping
        is_new: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._pending.append(_Pending(event, handler, filter, contextvars.copy_context(), is_new))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._run(), context=self._context)
        return await is_new

    def stop(self) -> None:
        """Finishes the batch in progress and no other: messages that wait for their turn fail with Stopping."""
        self._stopping = True
        for each in self._pending:
            if not each.is_new.done():
                each.is_new.set_exception(Stopping())
        self._pending.clear()

    async def _run(self) -> None:
        while self._pending:
            batch = [self._pending.popleft() for _ in range(min(len(self._pending), MAX_BATCH))]
            try:
                await self._process(batch)
            except Exception as error:
                for each in batch:  # every message gets an outcome in any case
                    if not each.is_new.done():
                        each.is_new.set_exception(error)
            finally:
                for each in batch:
                    each.is_new.cancel()  # those without an outcome: this worker is canceled

    async def _process(self, batch: Sequence[_Pending]) -> None:
        try:
            new = await self._commit(batch, lock_timeout=LOCK_TIMEOUT)
        except Exception as error:
            if len(batch) == 1 or (is_down(error) and not waited_for_a_lock(error)):
                raise
            log.warning("batch failed", queue=self._queue, messages=len(batch), error=describe(error))
            await asyncio.gather(*(self._process_alone(each) for each in batch))
        else:
            _settle(batch, new)

    async def _process_alone(self, pending: _Pending) -> None:
        async with self._alone:
            try:
                if self._stopping:
                    raise Stopping
                new = await self._commit([pending], lock_timeout=ALONE_LOCK_TIMEOUT)
            except Exception as error:
                if not pending.is_new.done():
                    pending.is_new.set_exception(error)
            else:
                _settle([pending], new)

    async def _commit(self, batch: Sequence[_Pending], *, lock_timeout: str) -> frozenset[str]:
        """The ids of the events that are new to the queue."""
        for race in range(_RACES):
            try:
                return await self._transaction(batch, lock_timeout)
            except Exception as error:
                if not lost_a_race(error) or race == _RACES - 1:
                    raise
                await asyncio.sleep(0.01 * 2**race)
        raise AssertionError("unreachable")

    async def _transaction(self, batch: Sequence[_Pending], lock_timeout: str) -> frozenset[str]:
        by_id: dict[str, _Pending] = {}
        for each in batch:
            by_id.setdefault(each.event.id, each)
        async with self._database.transaction() as db:
            await db.execute(_SET_LOCK_TIMEOUT, {"value": lock_timeout})
            new = await inbox.claim_all(db, queue=self._queue, event_ids=by_id)
            if new:
                collected = Collected()
                uow = UnitOfWork(db=db, source=self._service, now=utc_now(), collected=collected)
                await self._handle(await _without_erased(db, [by_id[id] for id in by_id if id in new]), uow)
                await collected.write(db)
        return new

    async def _handle(self, batch: Sequence[_Pending], uow: UnitOfWork) -> None:
        together: dict[EventFilter, list[_Pending]] = {}
        handled = []
        for each in sorted(batch, key=_subject):  # so two batches lock the rows of the same purchases in the same order
            if each.filter.together is not None:
                together.setdefault(each.filter, []).append(each)
            else:
                handled.append(each)
        started = time.monotonic()
        for filter, its in together.items():
            await self._handle_together(filter, its, uow, started)
        for each in handled:
            _check(started)
            handling = each.handler(each.event, replace(uow, cause=cause_of(each.event)))
            await asyncio.create_task(_await(handling), context=each.context)

    async def _handle_together(
        self, filter: EventFilter, waiting: Sequence[_Pending], uow: UnitOfWork, started: float
    ) -> None:
        assert filter.together is not None  # noqa: S101  only these get here
        with structlog.contextvars.bound_contextvars(**self._log_context(waiting)):
            events = [each.event for each in waiting]
            if filter.merging is None:
                await filter.together(uow, events)
                return
            await uow.merge_ahead(events, filter.merging)
        while waiting:
            _check(started)
            group = uow.groups[waiting[0].event.id]  # looked up each time: handling another group may have changed it
            own = [each for each in waiting if uow.groups[each.event.id] is group]
            waiting = [each for each in waiting if uow.groups[each.event.id] is not group]
            with structlog.contextvars.bound_contextvars(**self._log_context(own)):
                await filter.together(uow, [each.event for each in own])

    def _log_context(self, batch: Sequence[_Pending]) -> dict[str, Any]:
        ids, correlations = zip(
            *((each.event.id, each.event.correlation_id or each.event.id) for each in batch), strict=True
        )
        if len(batch) == 1:
            return {"queue": self._queue, "event_id": ids[0], "correlation": correlations[0]}
        return {"queue": self._queue, "event_id": ids, "correlation": correlations}


async def _without_erased(db: AsyncConnection, batch: Sequence[_Pending]) -> list[_Pending]:
    """Events of erased people without personal data. Those of which nothing is left are not handled."""
    events = await erased.without_personal_data(db, [each.event for each in batch])
    return [replace(each, event=event) for each, event in zip(batch, events, strict=True) if event is not None]


def _subject(pending: _Pending) -> str:
    return pending.event.subject


def _check(started: float) -> None:
    if time.monotonic() - started > MAX_SECONDS:
        raise _TooSlow


async def _await(handling: Awaitable[None]) -> None:
    await handling


def _settle(batch: Sequence[_Pending], new: frozenset[str]) -> None:
    """Of several copies in one batch, the first is new."""
    seen = set[str]()
    for each in batch:
        if not each.is_new.done():
            each.is_new.set_result(each.event.id in new and each.event.id not in seen)
        seen.add(each.event.id)
