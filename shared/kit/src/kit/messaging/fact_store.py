"""Facts in groups: those that share a key, directly or through others.

The store does not interpret them: a fact is an id, a type, a JSON body and its keys.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

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


async def group_of(db: AsyncConnection, key: str) -> list[Fact]:
    """The group of the key, without a lock; empty if no fact has the key."""
    group = select(fact_keys.c.group_id).where(fact_keys.c.key == key).scalar_subquery()
    rows = await db.execute(select(facts).where(facts.c.group_id == group).order_by(facts.c.event_id))
    return [_fact(row) for row in rows]


def _fact(row: Row[Any]) -> Fact:
    return Fact(event_id=row.event_id, type=row.type, time=row.time, body=row.body)
