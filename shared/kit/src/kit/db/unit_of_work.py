"""A unit of work: rows, events to publish and jobs to run, committed together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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

    async def publish(self, event: Event, *, id: str, subject: str | None = None) -> None:
        """Adds an event to the outbox; it is published after commit. The same `id` twice is one event.

        `subject` defaults to the cause's; it is required if there is no cause.
        """
        await outbox.put(self.db, self.message(event, id=id, subject=subject))

    def message(self, event: Event, *, id: str, subject: str | None = None) -> outbox.OutgoingMessage:
        """What `publish` adds to the outbox."""
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
        return outbox.to_message(envelope)

    async def enqueue(
        self, kind: str, *, key: str, payload: Mapping[str, Any], available_at: datetime | None = None
    ) -> bool:
        """Enqueues a job, once per (kind, key). Returns False if it exists."""
        return await jobs.put(self.db, kind=kind, key=key, payload=payload, cause=self.cause, available_at=available_at)

    async def merge(self, event: Envelope[Any], keys: Callable[[Any], frozenset[str]]) -> dict[str, Any]:
        """Adds the event to the stored facts. Returns all that belong together with it, by event id, locked."""
        return _facts(await fact_store.merge(self.db, fact_of(event), keys(event.data)))

    async def merge_all(
        self,
        events: Sequence[Envelope[Any]],
        keys: Callable[[Any], frozenset[str]],
        implied_keys: Callable[[Any], frozenset[str]],
    ) -> list[dict[str, Any]]:
        """The same for many events at once: every group that one of them belongs to, each whole and locked.

        `implied_keys` are those that only several facts together have; groups that share one are joined.
        """
        needed = {event.id: keys(event.data) for event in events}
        while True:
            new = [fact_store.NewFact(fact=fact_of(event), keys=needed[event.id]) for event in events]
            groups = [_facts(group) for group in await fact_store.merge_all(self.db, new)]
            complete = True
            for facts in groups:
                implied = implied_keys(facts) - frozenset().union(*(keys(fact) for fact in facts.values()))
                for event_id in needed.keys() & facts.keys():
                    complete = complete and implied <= needed[event_id]
                    needed[event_id] |= implied
            if complete:
                return groups


def fact_of(event: Envelope[Event]) -> fact_store.Fact:
    body = event.data.model_dump(mode="json", exclude_none=True)
    return fact_store.Fact(event_id=event.id, type=event.type, time=event.time, body=body)


def _facts(group: Sequence[fact_store.Fact]) -> dict[str, Any]:
    return {fact.event_id: EVENT_TYPES[fact.type].model_validate(fact.body) for fact in group}


def utc_now() -> datetime:
    """The clock. Read where a unit of work starts, and passed on from there."""
    return datetime.now(UTC)
