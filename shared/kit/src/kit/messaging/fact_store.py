"""Facts in groups: those that share a key, directly or through others.

The store does not interpret them: a fact is an id, a type, a JSON body and its keys.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Column, DateTime, Row, Table, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from kit.db.database import KIT_TABLES

facts = Table(
    "facts",
    KIT_TABLES,
    Column("event_id", Text, primary_key=True),
    Column("group_id", Uuid, nullable=False, index=True),
    Column("type", Text, nullable=False),
    Column("time", DateTime(timezone=True), nullable=False),
    Column("body", JSONB, nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
fact_keys = Table(
    "fact_keys",
    KIT_TABLES,
    Column("key", Text, primary_key=True),
    Column("group_id", Uuid, nullable=False, index=True),
)


@dataclass(frozen=True, kw_only=True)
class Fact:
    """`time`: when it occurred, according to its event. `body`: JSON."""

    event_id: str
    type: str
    time: datetime
    body: str


@dataclass(frozen=True, kw_only=True)
class NewFact:
    fact: Fact
    keys: Collection[str]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Facts that belong together. `merged`: the ids of the caller's facts. `added`: of those that were not stored."""

    facts: Sequence[Fact]
    merged: frozenset[str]
    added: frozenset[str]


_ADD_KEYS = text(
    "INSERT INTO fact_keys (key, group_id)"
    " SELECT key, group_id FROM unnest(CAST(:keys AS text[]), CAST(:groups AS uuid[])) AS new (key, group_id)"
    " ORDER BY key ON CONFLICT (key) DO NOTHING"
)
_LOCK_GROUPS = text(
    "SELECT key, group_id FROM fact_keys"
    " WHERE group_id IN (SELECT group_id FROM fact_keys WHERE key = ANY (CAST(:keys AS text[])))"
    " ORDER BY key FOR UPDATE"
).columns(key=Text, group_id=Uuid)
_JOIN = """
    UPDATE {table} SET group_id = target
    FROM unnest(CAST(:joined AS uuid[]), CAST(:targets AS uuid[])) AS moved (joined, target)
    WHERE group_id = joined
"""
_JOIN_KEYS, _JOIN_FACTS = text(_JOIN.format(table="fact_keys")), text(_JOIN.format(table="facts"))
# The SELECT sees the table as it was before. What was added has no body here: the caller has it.
_ADD_FACTS = text(
    "WITH added AS ("
    " INSERT INTO facts (event_id, group_id, type, time, body)"
    " SELECT event_id, group_id, type, time, body::jsonb FROM unnest(CAST(:ids AS text[]), CAST(:groups AS uuid[]),"
    " CAST(:types AS text[]), CAST(:times AS timestamptz[]), CAST(:bodies AS text[]))"
    " AS new (event_id, group_id, type, time, body) ORDER BY event_id"
    " ON CONFLICT (event_id) DO NOTHING RETURNING event_id, group_id, type, time)"
    " SELECT event_id, group_id, type, time, body::text AS body FROM facts"
    " WHERE group_id = ANY (CAST(:groups AS uuid[]))"
    " UNION ALL SELECT event_id, group_id, type, time, NULL FROM added ORDER BY event_id"
)
_READ_GROUP = text(
    "SELECT event_id, type, time, body::text AS body FROM facts"
    " WHERE group_id = (SELECT group_id FROM fact_keys WHERE key = :key) ORDER BY event_id"
)
_READ_GROUPS = text(
    "SELECT event_id, type, time, body::text AS body FROM facts"
    " WHERE group_id = ANY (CAST(:groups AS uuid[])) ORDER BY time, event_id"
)
_GROUPS_AFTER = text(
    "SELECT DISTINCT group_id FROM facts WHERE group_id > :after ORDER BY group_id LIMIT :limit"
).columns(group_id=Uuid)
_READ_WITH_GROUP = text(
    "SELECT group_id, event_id, type, time, body::text AS body FROM facts"
    " WHERE group_id = ANY (CAST(:groups AS uuid[])) ORDER BY time, event_id"
).columns(group_id=Uuid)
_REMOVE_FACTS = text("DELETE FROM facts WHERE event_id = ANY (CAST(:ids AS text[]))")
_REMOVE_KEYS = text("DELETE FROM fact_keys WHERE key = ANY (CAST(:keys AS text[]))")


async def merge_all(db: AsyncConnection, new: Sequence[NewFact]) -> list[Group]:
    """Adds the facts and returns the groups that they belong to, whole and locked until the transaction ends.

    Merging a fact again changes nothing. Groups that share a key are joined.

    A key's row is the lock: transactions whose facts share a key wait for each other on its row, and a transaction that
    works on a group holds the rows of all its keys. They are locked in the order of the keys, for all facts together,
    and read again until no other transaction has changed them while this one waited. Raises ValueError for a fact
    without keys: it could never be found again.
    """
    if not new:
        return []
    if not all(each.keys for each in new):
        raise ValueError("a fact needs at least one key")
    created: dict[str, UUID] = {}
    for each in new:  # new keys of one fact get the same group at once: nothing is left to join
        own = next((created[key] for key in each.keys if key in created), None) or uuid4()
        created.update((key, own) for key in each.keys if key not in created)
    keys = list(created)
    while True:
        await db.execute(_ADD_KEYS, {"keys": keys, "groups": list(created.values())})
        locked = {row.key: row.group_id for row in await db.execute(_LOCK_GROUPS, {"keys": keys})}
        if locked.keys() >= created.keys():
            break  # otherwise another transaction has joined groups or removed keys while this one waited
    target = _joined([[locked[key] for key in each.keys] for each in new], set(created.values()))
    moved = {group: final for group, final in target.items() if group != final}
    if moved:
        joined = {"joined": list(moved), "targets": list(moved.values())}
        await db.execute(_JOIN_KEYS, joined)
        await db.execute(_JOIN_FACTS, joined)
    group_ids = [target[locked[next(iter(each.keys))]] for each in new]
    values = {
        "ids": [each.fact.event_id for each in new],
        "groups": group_ids,
        "types": [each.fact.type for each in new],
        "times": [each.fact.time for each in new],
        "bodies": [each.fact.body for each in new],
    }
    by_id = {each.fact.event_id: each.fact for each in new}
    members: dict[UUID, list[Fact]] = {id: [] for id in group_ids}
    merged: dict[UUID, set[str]] = {id: set() for id in group_ids}
    for id, each in zip(group_ids, new, strict=True):
        merged[id].add(each.fact.event_id)
    added = set[str]()
    for event_id, group_id, type_, time, body in await db.execute(_ADD_FACTS, values):
        if body is None:
            added.add(event_id)
            members[group_id].append(by_id[event_id])
        else:
            members[group_id].append(Fact(event_id=event_id, type=type_, time=time, body=body))
    return [
        Group(facts=stored, merged=frozenset(merged[id]), added=frozenset(merged[id] & added))
        for id, stored in members.items()
    ]


async def remove(db: AsyncConnection, *, event_ids: Collection[str], keys: Collection[str]) -> None:
    """Removes facts, and keys that no other fact has, of groups that the caller has locked."""
    if event_ids:
        await db.execute(_REMOVE_FACTS, {"ids": list(event_ids)})
    if keys:
        await db.execute(_REMOVE_KEYS, {"keys": list(keys)})


def _joined(connected: Iterable[Sequence[UUID]], created: set[UUID]) -> dict[UUID, UUID]:
    """group -> the group that it is joined to, for all groups named. One that was stored before stays."""
    parent: dict[UUID, UUID] = {}

    def root(group: UUID) -> UUID:
        while parent.setdefault(group, group) != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    for groups in connected:
        first = root(groups[0])
        for other in groups[1:]:
            stays, goes = sorted((first, root(other)), key=lambda group: (group in created, group))
            parent[goes] = stays
            first = stays
    return {group: root(group) for group in list(parent)}


async def group_of(db: AsyncConnection, key: str) -> list[Fact]:
    """The group of the key, without a lock; empty if no fact has the key."""
    return _facts(await db.execute(_READ_GROUP, {"key": key}))


async def in_groups(db: AsyncConnection, group_ids: Collection[UUID]) -> list[Fact]:
    """The facts of these groups in the order of their times, without a lock."""
    return _facts(await db.execute(_READ_GROUPS, {"groups": list(group_ids)}))


async def groups_after(db: AsyncConnection, after: UUID, *, limit: int) -> dict[UUID, list[Fact]]:
    """The next groups in the order of their ids, each with its facts, without a lock."""
    groups = list(await db.scalars(_GROUPS_AFTER, {"after": after, "limit": limit}))
    found: dict[UUID, list[Fact]] = {group: [] for group in groups}
    if groups:
        for group, event_id, type_, time, body in await db.execute(_READ_WITH_GROUP, {"groups": groups}):
            found[group].append(Fact(event_id=event_id, type=type_, time=time, body=body))
    return found


def _facts(rows: Iterable[Row[*tuple[Any, ...]]]) -> list[Fact]:
    return [Fact(event_id=event_id, type=type_, time=time, body=body) for event_id, type_, time, body in rows]
