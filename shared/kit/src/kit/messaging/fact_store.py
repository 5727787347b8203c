"""Facts in groups: those that share a key, directly or through others.

The store does not interpret them: a fact is an id, a type, a JSON body and its keys.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Column, DateTime, Row, Table, Text, Uuid, func, select, text
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


_MERGE = text(
    "SELECT event_id, type, time, body"
    " FROM merge_fact(:event_id, :type, :time, CAST(:body AS jsonb), CAST(:keys AS text[]))"
).columns(event_id=Text, type=Text, time=DateTime(timezone=True), body=JSONB)


@dataclass(frozen=True, kw_only=True)
class Fact:
    """`time`: when it occurred, according to its event."""

    event_id: str
    type: str
    time: datetime
    body: Mapping[str, Any]


async def merge(db: AsyncConnection, fact: Fact, keys: Collection[str]) -> list[Fact]:
    """Adds the fact and returns its whole group, which stays locked until the transaction ends.

    Merging a fact again changes nothing. Groups that share a key are joined. (`merge_fact`, in ddl.py, does all of it
    inside the database: one round trip, and the locks are taken next to the rows.) Raises ValueError without keys: such
    a fact could never be found again.
    """
    if not keys:
        raise ValueError("a fact needs at least one key")
    values = {
        "event_id": fact.event_id,
        "type": fact.type,
        "time": fact.time,
        "body": json.dumps(fact.body),
        "keys": sorted(keys),
    }
    return [_fact(row) for row in await db.execute(_MERGE, values)]


@dataclass(frozen=True, kw_only=True)
class NewFact:
    fact: Fact
    keys: Collection[str]


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
_ADD_FACTS = text(
    "INSERT INTO facts (event_id, group_id, type, time, body)"
    " SELECT event_id, group_id, type, time, body::jsonb FROM unnest(CAST(:ids AS text[]), CAST(:groups AS uuid[]),"
    " CAST(:types AS text[]), CAST(:times AS timestamptz[]), CAST(:bodies AS text[]))"
    " AS new (event_id, group_id, type, time, body) ORDER BY event_id ON CONFLICT (event_id) DO NOTHING"
)


async def merge_all(db: AsyncConnection, new: Sequence[NewFact]) -> list[list[Fact]]:
    """Adds the facts and returns the groups that they belong to, whole and locked until the transaction ends.

    The same as one `merge` after the other, in a few statements for all of them. The keys of all facts are locked in
    their order, so that two batches do not wait for each other. Raises ValueError for a fact without keys.
    """
    if not new:
        return []
    if not all(each.keys for each in new):
        raise ValueError("a fact needs at least one key")
    keys = sorted({key for each in new for key in each.keys})
    created = {key: uuid4() for key in keys}
    await db.execute(_ADD_KEYS, {"keys": keys, "groups": [created[key] for key in keys]})
    while True:
        locked = {row.key: row.group_id for row in await db.execute(_LOCK_GROUPS, {"keys": keys})}
        if all(key in locked for key in keys):
            break  # otherwise another transaction has joined one of the groups while this one waited
    target = _joined([[locked[key] for key in each.keys] for each in new], set(created.values()))
    moved = {group: final for group, final in target.items() if group != final}
    if moved:
        joined = {"joined": list(moved), "targets": list(moved.values())}
        await db.execute(_JOIN_KEYS, joined)
        await db.execute(_JOIN_FACTS, joined)
    groups = [target[locked[next(iter(each.keys))]] for each in new]
    values = {
        "ids": [each.fact.event_id for each in new],
        "groups": groups,
        "types": [each.fact.type for each in new],
        "times": [each.fact.time for each in new],
        "bodies": [json.dumps(each.fact.body) for each in new],
    }
    await db.execute(_ADD_FACTS, values)
    members: dict[UUID, list[Fact]] = {group: [] for group in groups}
    stored = select(facts).where(facts.c.group_id.in_(members)).order_by(facts.c.event_id)
    for row in await db.execute(stored):
        members[row.group_id].append(_fact(row))
    return list(members.values())


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
    group = select(fact_keys.c.group_id).where(fact_keys.c.key == key).scalar_subquery()
    rows = await db.execute(select(facts).where(facts.c.group_id == group).order_by(facts.c.event_id))
    return [_fact(row) for row in rows]


def _fact(row: Row[Any]) -> Fact:
    return Fact(event_id=row.event_id, type=row.type, time=row.time, body=row.body)
