"""The performer: does the effects that are due, each under a lease, and records what came of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import func, select, update

from kit import metrics
from kit.db import Database
from kit.effects import Effect, EffectHandler, effects
from kit.failures import Permanent, describe, stack
from kit.outbox import WAKE_CHANNEL
from kit.trace import Cause
from kit.wakeup import Wakeup
from kit.work import Work, utc_now

log = structlog.get_logger(__name__)

CONCURRENCY = 16
SWEEP_SECONDS = 1.0
LEASE = timedelta(seconds=60)
"""Longer than any attempt may take; when it runs out, the process that held it is taken for dead."""
ATTEMPT_SECONDS = 45.0


class Performer:
    """Any number may run beside each other. The handlers are the kinds that this process does."""

    def __init__(self, database: Database, source: str, handlers: Mapping[str, EffectHandler[Any]]) -> None:
        self._database = database
        self._source = source
        self._handlers = handlers

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; what is under way then is finished first."""
        async with Wakeup(self._database.url, WAKE_CHANNEL) as wakeup:
            stopping = asyncio.create_task(stop.wait())
            running: set[asyncio.Task[None]] = set()
            while not stop.is_set():
                taken: list[Effect] = []
                try:
                    taken = await self._take(CONCURRENCY - len(running))
                except Exception as error:
                    log.warning("effects wait", error=describe(error))
                for effect in taken:
                    task = asyncio.create_task(self.attempt(effect))
                    running.add(task)
                    task.add_done_callback(running.discard)
                    task.add_done_callback(lambda _: wakeup.set())
                if not taken:
                    nap = asyncio.create_task(wakeup.wait(SWEEP_SECONDS))
                    await asyncio.wait((nap, stopping), return_when=asyncio.FIRST_COMPLETED)
                    nap.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _take(self, most: int) -> list[Effect]:
        if most <= 0:
            return []
        due = (
            select(effects.c.id)
            .where(
                effects.c.kind.in_(self._handlers),
                effects.c.done_at.is_(None),
                effects.c.failed_at.is_(None),
                effects.c.available_at <= func.now(),
            )
            .order_by(effects.c.available_at)
            .limit(most)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
        lease = (
            update(effects)
            .where(effects.c.id.in_(due))
            .values(attempts=effects.c.attempts + 1, available_at=func.now() + LEASE)
            .returning(effects)
        )
        async with self._database.transaction() as db:
            rows = (await db.execute(lease)).all()
        return [
            Effect(
                id=row.id,
                kind=row.kind,
                key=row.key,
                payload=row.payload,
                cause=Cause(**row.cause) if row.cause else None,
                attempt=row.attempts,
            )
            for row in rows
        ]

    async def attempt(self, effect: Effect) -> None:
        """One attempt, and its record. Never raises: what is not recorded is attempted again after the lease."""
        handler = self._handlers[effect.kind]
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                result = await handler.perform(effect)
            async with self._database.transaction() as db:
                if await self._finish(db, effect, done_at=func.now()):
                    await handler.record(effect, result, self._work(db, effect))
            metrics.EFFECTS.labels(effect.kind, "done").inc()
        except Exception as error:
            try:
                await self._failed(effect, error, handler)
            except Exception as second:
                log.warning("effect unrecorded", kind=effect.kind, effect=str(effect.id), error=describe(second))

    async def _failed(self, effect: Effect, error: Exception, handler: EffectHandler[Any]) -> None:
        final = isinstance(error, Permanent) or handler.backoff.exhausted(effect.attempt)
        outcome = "failed" if final else "retried"
        metrics.EFFECTS.labels(effect.kind, outcome).inc()
        log.warning(
            "effect failed",
            kind=effect.kind,
            effect=str(effect.id),
            attempt=effect.attempt,
            outcome=outcome,
            error=describe(error),
            at=stack(error, limit=3),
        )
        async with self._database.transaction() as db:
            if final:
                if await self._finish(db, effect, failed_at=func.now(), last_error=describe(error)):
                    await handler.give_up(effect, error, self._work(db, effect))
            else:
                later = func.now() + handler.backoff.delay(effect.attempt)
                await self._finish(db, effect, available_at=later, last_error=describe(error))

    async def _finish(self, db: Any, effect: Effect, **values: Any) -> bool:
        """False when somebody else has recorded this effect meanwhile (our lease had run out)."""
        pending = (effects.c.id == effect.id, effects.c.done_at.is_(None), effects.c.failed_at.is_(None))
        changed = await db.execute(update(effects).where(*pending).values(**values))
        return bool(changed.rowcount == 1)

    def _work(self, db: Any, effect: Effect) -> Work:
        return Work(db=db, source=self._source, now=utc_now(), cause=effect.cause)
