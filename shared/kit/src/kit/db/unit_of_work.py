"""A unit of work: rows, events to publish and jobs to run, committed together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.envelope import Envelope, Event
from kit.db.database import after_commit
from kit.jobs import jobs
from kit.jobs.jobs import NewJob
from kit.messaging import event_facts, outbox
from kit.messaging.event_facts import EventGroup, FactRules
from kit.messaging.outbox import OutgoingMessage
from kit.runtime.trace import Cause, current_traceparent


@dataclass
class Collected:
    """Messages and jobs of a transaction that are written at its end, each in one statement."""

    messages: list[OutgoingMessage] = field(default_factory=list)
    jobs: list[NewJob] = field(default_factory=list)

    async def write(self, db: AsyncConnection) -> None:
        messages, new_jobs = self.messages, self.jobs
        self.messages, self.jobs = [], []
        await outbox.put_all(db, messages)
        await jobs.put_all(db, new_jobs)


@dataclass(frozen=True, kw_only=True)
class UnitOfWork:
    """One open transaction. Only the code that opened it commits.

    collected: if given, messages and jobs are added to it, and its owner writes them
    groups:    the groups that are merged already, by the ids of their events (see `merge_ahead`)
    """

    db: AsyncConnection
    source: str
    now: datetime
    cause: Cause | None = None
    collected: Collected | None = None
    groups: dict[str, EventGroup] = field(default_factory=dict)

    async def publish(self, event: Event, *, id: str, subject: str | None = None) -> None:
        """Adds an event to the outbox; it is published after commit. The same `id` twice is one event.

        `subject` defaults to the cause's; it is required if there is no cause.
        """
        message = self._message(event, id=id, subject=subject)
        after_commit(self.db, partial(outbox.log_message, message))
        if self.collected is None:
            await outbox.put(self.db, message)
        else:
            self.collected.messages.append(message)

    def _message(self, event: Event, *, id: str, subject: str | None) -> OutgoingMessage:
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
            traceparent=cause.traceparent if cause else current_traceparent(),
        )
        return outbox.to_message(envelope)

    async def enqueue(
        self, kind: str, *, key: str, payload: Mapping[str, Any], available_at: datetime | None = None
    ) -> None:
        """Enqueues a job, once per (kind, key)."""
        new = NewJob(kind=kind, key=key, payload=payload, cause=self.cause, available_at=available_at)
        if self.collected is None:
            await jobs.put_all(self.db, [new])
        else:
            self.collected.jobs.append(new)

    async def merge(self, event: Envelope[Any], rules: FactRules) -> EventGroup:
        """Adds the event to the stored facts. Returns all that belong together with it, locked."""
        if (group := self.groups.get(event.id)) is None:
            (group,) = await self.merge_all([event], rules)
        return group

    async def merge_all(self, events: Sequence[Envelope[Any]], rules: FactRules) -> list[EventGroup]:
        """The same for many events at once: every group that one of them belongs to."""
        groups = await event_facts.merge_all(self.db, events, rules)
        for group in groups:
            outdated = [id for id, each in self.groups.items() if not each.facts.keys().isdisjoint(group.facts)]
            self.groups.update(dict.fromkeys(outdated, group))
        return groups

    async def merge_ahead(self, events: Sequence[Envelope[Any]], rules: FactRules) -> None:
        """Merges the events of a whole batch, so that `merge` finds them merged. A later `merge` of another event
        keeps these groups up to date."""
        for group in await self.merge_all(events, rules):
            self.groups.update(dict.fromkeys(group.merged, group))


def utc_now() -> datetime:
    """The clock. Read where a unit of work starts, and passed on from there."""
    return datetime.now(UTC)
