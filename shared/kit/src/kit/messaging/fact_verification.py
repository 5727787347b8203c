"""The comparison of the stored facts with the inbox, and of their keys with the facts.

What was taken into the inbox is a fact, unless it was superseded. A fact that is gone is in no table of this service:
its inbox row is removed, so that the same event is accepted once more, and its publisher is asked for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.envelope import Envelope
from kit.db.unit_of_work import UnitOfWork
from kit.messaging import event_facts, fact_store
from kit.messaging.event_facts import FactRules, StoredEvent, events_of
from kit.messaging.event_requests import request_events
from kit.messaging.projection_verification import FIRST, GROUPS
from kit.messaging.topology import Queue
from kit.messaging.verification import FACTS, Difference, lost_event

PAGE = 5_000
_MISSING = text(
    """
    SELECT event_id, EXISTS (SELECT FROM facts WHERE facts.event_id = inbox.event_id) AS has_fact
    FROM inbox WHERE queue = :queue AND event_id > :after ORDER BY event_id LIMIT :limit
    """
)
_IS_MISSING = text(
    "SELECT event_id FROM inbox WHERE queue = ANY (CAST(:queues AS text[])) AND event_id = :id"
    " AND NOT EXISTS (SELECT FROM facts WHERE facts.event_id = inbox.event_id)"
)
_WAITING = text(
    "SELECT row_id FROM repairs WHERE table_name = 'facts' AND repaired_at IS NULL"
    " AND (CAST(:id AS text) IS NULL OR row_id = :id)"
    " AND NOT EXISTS (SELECT FROM facts WHERE facts.event_id = repairs.row_id)"
)
"""Their publishers were asked for them."""
_FORGET = text("DELETE FROM inbox WHERE queue = ANY (CAST(:queues AS text[])) AND event_id = :id")
_KEYS = text("SELECT key, group_id FROM fact_keys WHERE key = ANY (CAST(:keys AS text[]))")


@dataclass(frozen=True, kw_only=True)
class FactComparison:
    """
    queues:     whose events are all stored as facts
    superseded: types of which some events need not be kept, and types that are no facts
    """

    service: str
    queues: Sequence[Queue]
    rules: FactRules
    superseded: frozenset[str]
    name: str = FACTS

    async def differences(self, db: AsyncConnection) -> AsyncIterator[Sequence[Difference]]:
        waiting = set(await db.scalars(_WAITING, {"id": None}))
        yield [replace(lost_event(event_id), outcome="requested") for event_id in sorted(waiting)]
        for queue in self.queues:
            after = ""
            while rows := (await db.execute(_MISSING, {"queue": queue.name, "after": after, "limit": PAGE})).all():
                after = rows[-1].event_id
                missing = {row.event_id for row in rows if not row.has_fact} - waiting
                yield [lost_event(event_id) for event_id in sorted(missing) if self._is_kept(event_id)]
        group = FIRST
        while groups := await fact_store.groups_after(db, group, limit=GROUPS):
            group = max(groups)
            events = {id: events_of(facts) for id, facts in groups.items()}
            yield await self._without_keys(db, events)

    async def differences_of(self, db: AsyncConnection, unit: str) -> Sequence[Difference]:
        kind, _, id = unit.partition(" ")
        if kind == "event":
            missing = set(await db.scalars(_IS_MISSING, {**self._queues, "id": id}))
            missing.update(await db.scalars(_WAITING, {"id": id}))
            return [lost_event(event_id) for event_id in missing]
        group = UUID(id)
        return await self._without_keys(db, {group: events_of(await fact_store.in_groups(db, [group]))})

    async def repair(self, uow: UnitOfWork, differences: Sequence[Difference]) -> None:
        kind, _, id = differences[0].unit.partition(" ")
        if kind == "event":
            await uow.db.execute(_FORGET, {**self._queues, "id": id})
            await request_events(uow, [id], cause=f"{self.service}/{uuid4()}")
            return
        stored = events_of(await fact_store.in_groups(uow.db, [UUID(id)]))
        events = [
            Envelope(id=each.id, source=self.service, subject=each.id, time=each.time, data=each.data)
            for each in stored
        ]
        await event_facts.merge_all(uow.db, events, self.rules)

    @property
    def _queues(self) -> dict[str, list[str]]:
        return {"queues": [queue.name for queue in self.queues]}

    def _is_kept(self, event_id: str) -> bool:
        return event_id.rpartition("/")[2] not in self.superseded

    async def _without_keys(
        self, db: AsyncConnection, groups: Mapping[UUID, Sequence[StoredEvent]]
    ) -> Sequence[Difference]:
        """The keys that have no row, or one of another group: later events would not meet these."""
        needed = await asyncio.to_thread(self._keys, groups)
        stored = {row.key: row.group_id for row in await db.execute(_KEYS, {"keys": sorted(needed)})}
        return [
            Difference(
                table="fact_keys",
                row=key,
                column="group_id",
                stored=stored.get(key),
                expected=group,
                unit=f"group {group}",
            )
            for key, group in needed.items()
            if stored.get(key) != group
        ]

    def _keys(self, groups: Mapping[UUID, Sequence[StoredEvent]]) -> dict[str, UUID]:
        return {key: group for group, events in groups.items() for key in self._keys_of(events)}

    def _keys_of(self, events: Sequence[StoredEvent]) -> Collection[str]:
        facts = {each.id: each.data for each in events}
        return frozenset().union(self.rules.implied_keys(facts), *(self.rules.keys(each) for each in facts.values()))
