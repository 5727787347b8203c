"""Facts that belong together because they share a key, directly or over others; kept, and handed out as one group.

The store knows nothing of their meaning: a fact is an id, a type, a JSON body and its keys.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Column, DateTime, Table, Text, Uuid, func, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kit.db import PLUMBING

facts = Table(
    "facts",
    PLUMBING,
    Column("event_id", Text, primary_key=True),
    Column("group_id", Uuid, nullable=False, index=True),
    Column("type", Text, nullable=False),
    Column("time", DateTime(timezone=True), nullable=False),
    Column("body", JSONB, nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
fact_keys = Table(
    "fact_keys",
    PLUMBING,
    Column("key", Text, primary_key=True),
    Column("group_id", Uuid, nullable=False, index=True),
)


@dataclass(frozen=True, kw_only=True)
class Fact:
    """`time`: when it happened, as its event says."""

    event_id: str
    type: str
    time: datetime
    body: Mapping[str, Any]


async def merge(db: AsyncConnection, fact: Fact, keys: Collection[str]) -> list[Fact]:
    """Adds the fact and returns its whole group, which stays locked until the caller's transaction ends.

    Merging a fact that is known changes nothing. Groups that turn out to share a key become one.
    Raises ValueError without keys: such a fact could never be found again.
    """
    if not keys:
        raise ValueError("a fact needs at least one key")
    group_id = await _lock_group(db, sorted(keys))
    await db.execute(
        insert(facts)
        .values(event_id=fact.event_id, group_id=group_id, type=fact.type, time=fact.time, body=dict(fact.body))
        .on_conflict_do_nothing()
    )
    return await _of_group(db, group_id)


async def known(db: AsyncConnection, key: str) -> list[Fact]:
    """The group that the key belongs to, without a lock; empty when nobody has named the key."""
    group_id = (await db.execute(select(fact_keys.c.group_id).where(fact_keys.c.key == key))).scalar_one_or_none()
    return [] if group_id is None else await _of_group(db, group_id)


async def _of_group(db: AsyncConnection, group_id: UUID) -> list[Fact]:
    rows = await db.execute(
        select(facts.c.event_id, facts.c.type, facts.c.time, facts.c.body)
        .where(facts.c.group_id == group_id)
        .order_by(facts.c.event_id)
    )
    return [Fact(event_id=row.event_id, type=row.type, time=row.time, body=row.body) for row in rows]


async def _lock_group(db: AsyncConnection, keys: list[str]) -> UUID:
    """Makes the keys known, joins the groups that they turn out to connect, and locks the outcome.

    A key's row is the lock: every fact of a group has a key in it, and two facts that share a key queue up on its row.
    Joining locks all rows of the joined groups, in key order, and looks again until nothing has changed meanwhile.
    """
    own = uuid4()
    await db.execute(
        insert(fact_keys)
        .values([{"key": key, "group_id": own} for key in keys])
        .on_conflict_do_nothing(index_elements=["key"])
    )
    while True:
        named = set(await db.scalars(select(fact_keys.c.group_id).where(fact_keys.c.key.in_(keys))))
        members = select(fact_keys).where(fact_keys.c.group_id.in_(named)).order_by(fact_keys.c.key).with_for_update()
        locked = {row.key: row.group_id for row in await db.execute(members)}
        now = set(await db.scalars(select(fact_keys.c.group_id).where(fact_keys.c.key.in_(keys))))
        if now == named and set(keys) <= locked.keys():
            break
    group_id = min(named - {own}, default=own)
    if others := named - {group_id}:
        await db.execute(update(fact_keys).where(fact_keys.c.group_id.in_(others)).values(group_id=group_id))
        await db.execute(update(facts).where(facts.c.group_id.in_(others)).values(group_id=group_id))
    return group_id
