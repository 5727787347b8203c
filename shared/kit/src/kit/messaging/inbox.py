"""Inbox: a queue's message is processed once, however often the broker delivers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from sqlalchemy import Column, Date, DateTime, Table, Text, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import FetchedValue

from contracts.envelope import Envelope
from kit.db.database import KIT_TABLES
from kit.db.unit_of_work import UnitOfWork

Handler = Callable[[Envelope[Any], UnitOfWork], Awaitable[None]]

inbox = Table(
    "inbox",
    KIT_TABLES,
    Column("queue", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("month", Date, FetchedValue(), primary_key=True),
    Column("received_at", DateTime(timezone=True), FetchedValue(), nullable=False),
)
"""Partitioned by month."""


# The key holds within a month, so the other months are looked up (OFFSET 0: by index for each id).
_CLAIM_ALL = text(
    """
    INSERT INTO inbox (queue, event_id)
    SELECT :queue, event_id FROM unnest(CAST(:event_ids AS text[])) AS new (event_id)
    WHERE NOT EXISTS (
        SELECT FROM inbox AS old WHERE old.queue = :queue AND old.event_id = new.event_id OFFSET 0
    )
    ORDER BY event_id
    ON CONFLICT DO NOTHING
    RETURNING event_id
    """
)


async def claim_all(db: AsyncConnection, *, queue: str, event_ids: Collection[str]) -> frozenset[str]:
    """Returns those that are new to this queue. The claim is part of the caller's transaction, in the order of the ids,
    so that two batches do not wait for each other.

    A second delivery that is processed at the same time waits here until the first one commits or rolls back.
    """
    claimed = await db.scalars(_CLAIM_ALL, {"queue": queue, "event_ids": sorted(event_ids)})
    return frozenset(claimed)
