"""Inbox: a queue's message is worked on once, however often the broker delivers it."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, Table, Text, func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kit.db.database import PLUMBING

inbox = Table(
    "inbox",
    PLUMBING,
    Column("queue", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("received_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)


async def claim(db: AsyncConnection, *, queue: str, event_id: str) -> bool:
    """Whether this event is new to this queue. The claim is part of the caller's transaction.

    A second delivery that is worked on at the same time waits here until the first one commits or rolls back.
    """
    statement = insert(inbox).values(queue=queue, event_id=event_id).on_conflict_do_nothing()
    return (await db.execute(statement)).rowcount == 1
