"""Events as facts: stored in groups of those that belong together, and read as events again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.envelope import Envelope, Event
from contracts.registry import EVENT_TYPES
from kit.messaging import fact_store
from kit.messaging.fact_store import Fact, NewFact

log = structlog.get_logger(__name__)

_NO_EVENTS: Mapping[str, Event] = {}


@dataclass(frozen=True, kw_only=True)
class StoredEvent:
    """`time`: when it occurred, according to its envelope."""

    id: str
    time: datetime
    data: Event


def _none(_: Any) -> frozenset[str]:
    return frozenset()


@dataclass(frozen=True, kw_only=True)
class FactRules:
    """Which events belong together, and which need not be kept. Pure functions.

    keys:         of one event; events that share a key belong together
    implied_keys: those that only several events together have (event id -> event); groups that share one are joined
    superseded:   the ids of those events of a group that need not be kept: what is derived from the events that are
                  left is what is derived from all. The same ones are left in any order in which the events are added,
                  and however often, with one exception: an event because of which another one is kept (a submitted
                  debit, its failure) has no effect on events that were removed before it was added.
    """

    keys: Callable[[Any], frozenset[str]]
    implied_keys: Callable[[Any], frozenset[str]] = _none
    superseded: Callable[[Sequence[Any]], Collection[str]] = _none


@dataclass(frozen=True)
class EventGroup:
    """Events that belong together. `merged`: the ids of those that were added now, even if they are superseded."""

    events: tuple[StoredEvent, ...]
    merged: frozenset[str]

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """event id -> event"""
        return {each.id: each.data for each in self.events}


async def merge_all(db: AsyncConnection, events: Sequence[Envelope[Any]], rules: FactRules) -> list[EventGroup]:
    """Adds the events to the stored facts. Returns every group that one of them belongs to, whole and locked until the
    transaction ends."""
    needed = {event.id: rules.keys(event.data) for event in events}
    own = {event.id: event.data for event in events}
    facts = [fact_of(event) for event in events]
    while True:
        new = [NewFact(fact=fact, keys=needed[fact.event_id]) for fact in facts]
        groups = [
            EventGroup(events_of(each.facts, {id: own[id] for id in each.added}), each.merged)
            for each in await fact_store.merge_all(db, new)
        ]
        complete = True
        for group in groups:
            implied = rules.implied_keys(group.facts)
            if implied:
                implied -= frozenset().union(*(rules.keys(fact) for fact in group.facts.values()))
            for event_id in group.merged:
                complete = complete and implied <= needed[event_id]
                needed[event_id] |= implied
        if complete:
            return await _without_superseded(db, groups, rules)


async def _without_superseded(db: AsyncConnection, groups: Sequence[EventGroup], rules: FactRules) -> list[EventGroup]:
    found, removed, orphaned = [], list[str](), set[str]()
    for group in groups:
        superseded = frozenset(rules.superseded(group.events))
        if superseded:
            left = tuple(each for each in group.events if each.id not in superseded)
            removed += superseded
            orphaned.update(*(rules.keys(each.data) for each in group.events if each.id in superseded))
            orphaned.difference_update(*(rules.keys(each.data) for each in left), rules.implied_keys(group.facts))
            group = EventGroup(left, group.merged)
        found.append(group)
    await fact_store.remove(db, event_ids=removed, keys=orphaned)
    return found


def fact_of(event: Envelope[Event]) -> Fact:
    """As received: while two versions share a queue, the older one must not drop fields that only the later one has."""
    body = event.received or event.body()
    return Fact(event_id=event.id, type=event.type, time=event.time, body=body.decode())


def events_of(group: Sequence[Fact], events: Mapping[str, Event] = _NO_EVENTS) -> tuple[StoredEvent, ...]:
    """Without those of a type that this version does not have: a later version has stored them, and reads them.

    `events`: by fact id, those that need not be parsed.
    """
    unknown = {fact.type for fact in group if fact.type not in EVENT_TYPES}
    if unknown:
        log.warning("facts of unknown types skipped", types=sorted(unknown))
    return tuple(
        StoredEvent(
            id=fact.event_id,
            time=fact.time,
            data=events.get(fact.event_id) or EVENT_TYPES[fact.type].model_validate_json(fact.body),
        )
        for fact in group
        if fact.type in EVENT_TYPES
    )
