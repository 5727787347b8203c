"""A unit of work: rows, events to publish and jobs to run, committed together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.envelope import Envelope, Event
from contracts.registry import EVENT_TYPES
from kit.jobs import jobs
from kit.messaging import fact_store, outbox
from kit.runtime.trace import Cause, new_traceparent


@dataclass(frozen=True, kw_only=True)
class UnitOfWork:
    """One open transaction. Only the code that opened it commits."""

    db: AsyncConnection
    source: str
    now: datetime
    cause: Cause | None = None

    async def publish(self, event: Event, *, id: str, subject: str | None = None, mandatory: bool = False) -> None:
        """Adds an event to the outbox; it is published after commit. The same `id` twice is one event.

        `subject` defaults to the cause's; it is required if there is no cause. `mandatory`: see `to_message`.
        """
        cause = self.cause
        if subject is None:
            if cause is None:
                raise ValueError("an event without a cause needs a subject")
            subject = cause.subject
        envelope = Envelope(
            id=id,
            source=self.source,
            subject=subject,
            time=self.now,
            data=event,
            correlation_id=cause.correlation_id if cause else id,
            causation_id=cause.id if cause else "",
            traceparent=cause.traceparent if cause else new_traceparent(),
        )
        await outbox.put(self.db, outbox.to_message(envelope, mandatory=mandatory))

    async def enqueue(
        self, kind: str, *, key: str, payload: Mapping[str, Any], available_at: datetime | None = None
    ) -> bool:
        """Enqueues a job, once per (kind, key). Returns False if it exists."""
        return await jobs.put(self.db, kind=kind, key=key, payload=payload, cause=self.cause, available_at=available_at)

    async def merge(
        self,
        event: Envelope[Any],
        keys: Callable[[Any], frozenset[str]],
        implied_keys: Callable[[Any], frozenset[str]] | None = None,
    ) -> dict[str, Any]:
        """Adds the event to the stored facts. Returns all that belong together with it, by event id, locked.

        `implied_keys` are those that only several facts together have; groups that share one are joined.
        """
        needed = keys(event.data)
        while True:
            group = await fact_store.merge(self.db, fact_of(event), needed)
            facts = {fact.event_id: EVENT_TYPES[fact.type].model_validate(fact.body) for fact in group}
            implied = implied_keys(facts) if implied_keys else frozenset[str]()
            if implied <= needed.union(*(keys(fact) for fact in facts.values())):
                return facts
            needed |= implied


def fact_of(event: Envelope[Event]) -> fact_store.Fact:
    body = event.data.model_dump(mode="json", exclude_none=True)
    return fact_store.Fact(event_id=event.id, type=event.type, time=event.time, body=body)


def utc_now() -> datetime:
    """The clock. Read where a unit of work starts, and passed on from there."""
    return datetime.now(UTC)
