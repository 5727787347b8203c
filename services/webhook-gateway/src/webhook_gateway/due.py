"""The queries of the relay: what is due, and what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from webhook_gateway.tables import Lane, journal_due, journal_replay

MEASURED = 100_000
"""The gauges count no further: counting a large backlog would take longer than publishing it."""

_LOCK = text(
    """
    SELECT event_id, month, attempts FROM journal_due WHERE lane = :lane AND available_at <= now()
    ORDER BY available_at, event_id LIMIT :limit FOR UPDATE SKIP LOCKED
    """
)
# By the months, so that no other partition is read. Arrays, because SQLAlchemy writes a list anew for every batch.
_EVENTS = text(
    """
    SELECT event_id, body, signature, source, received_at FROM journal_events
    WHERE month = ANY (CAST(:months AS date[])) AND event_id = ANY (CAST(:ids AS text[]))
    """
)
# By the index's order and not by min(): without statistics, the planner would read the table.
_OLDEST_LIVE = (
    select(journal_due.c.available_at)
    .where(journal_due.c.lane == Lane.LIVE)
    .order_by(journal_due.c.available_at, journal_due.c.event_id)
    .limit(1)
    .scalar_subquery()
)


@dataclass(frozen=True, kw_only=True)
class DueEvent:
    """A journaled event that is to be published. Without a body if the journal has no such event."""

    event_id: str
    attempts: int
    body: bytes | None
    signature: str | None
    source: str | None
    received_at: datetime | None


@dataclass(frozen=True)
class Published:
    """What was published for an event: how many events, and the hash of their content."""

    event_id: str
    event_count: int
    translation: bytes


@dataclass(frozen=True)
class Deferred:
    """An event that could not be published. `delay`: until the next attempt."""

    event_id: str
    attempts: int
    delay: timedelta
    error: str


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """Counts, at most MEASURED each, and the age of the oldest live event that is due."""

    live: int
    replay: int
    deferred: int
    oldest_seconds: float


async def lock(db: AsyncConnection, lane: Lane, *, limit: int) -> list[DueEvent]:
    """The events of the lane that are due, oldest first, without those that another transaction has locked."""
    rows = (await db.execute(_LOCK, {"lane": lane, "limit": limit})).all()
    if not rows:
        return []
    parameters = {"months": sorted({row.month for row in rows}), "ids": [row.event_id for row in rows]}
    found = {event.event_id: event for event in await db.execute(_EVENTS, parameters)}
    return [
        DueEvent(
            event_id=row.event_id,
            attempts=row.attempts,
            body=getattr(event := found.get(row.event_id), "body", None),
            signature=getattr(event, "signature", None),
            source=getattr(event, "source", None),
            received_at=getattr(event, "received_at", None),
        )
        for row in rows
    ]


async def complete(db: AsyncConnection, published: Sequence[Published]) -> None:
    """The events are not due any more, and what was published for them is recorded. Of an event that is published again
    it is what was published first: it has the same id, and consumers ignore it."""
    if not published:
        return
    await db.execute(
        text(
            """
            WITH done AS (DELETE FROM journal_due WHERE event_id = ANY (CAST(:ids AS text[])))
            UPDATE journal_entries AS entry
            SET published_at = clock_timestamp(), event_count = each.event_count,
                translation = CASE WHEN entry.event_count > 0 AND entry.translation IS NOT NULL
                    THEN entry.translation ELSE each.translation END
            FROM unnest(CAST(:ids AS text[]), CAST(:counts AS integer[]), CAST(:translations AS bytea[]))
                AS each (event_id, event_count, translation)
            WHERE entry.event_id = each.event_id
            """
        ),
        {
            "ids": [each.event_id for each in published],
            "counts": [each.event_count for each in published],
            "translations": [each.translation for each in published],
        },
    )


async def defer(db: AsyncConnection, deferred: Sequence[Deferred]) -> None:
    if not deferred:
        return
    await db.execute(
        text(
            """
            UPDATE journal_due AS due
            SET attempts = each.attempts, available_at = now() + each.delay, last_error = each.error
            FROM unnest(CAST(:ids AS text[]), CAST(:attempts AS integer[]), CAST(:delays AS interval[]),
                CAST(:errors AS text[])) AS each (event_id, attempts, delay, error)
            WHERE due.event_id = each.event_id
            """
        ),
        {
            "ids": [each.event_id for each in deferred],
            "attempts": [each.attempts for each in deferred],
            "delays": [each.delay for each in deferred],
            "errors": [each.error for each in deferred],
        },
    )


async def lock_replay(db: AsyncConnection) -> bool:
    """Whether the replay lane may be published now. If so, no other relay publishes it during this transaction."""
    no_live = func.coalesce(func.now() < _OLDEST_LIVE, True)
    allowed = (
        select(journal_replay.c.next_at)
        .where(journal_replay.c.next_at <= func.now(), no_live)
        .with_for_update(of=journal_replay, skip_locked=True)
    )
    return (await db.execute(allowed)).first() is not None


async def pause_replay(db: AsyncConnection, pause: timedelta) -> None:
    await db.execute(update(journal_replay).values(next_at=func.now() + pause))


async def measure(db: AsyncConnection) -> Backlog:
    # an index is read up to the limit; the table would be read until so many rows are found
    plans = [func.set_config(name, "off", True) for name in ("enable_seqscan", "enable_bitmapscan")]
    await db.execute(select(*plans))
    age = (await db.execute(select(func.extract("epoch", func.now() - _OLDEST_LIVE)))).scalar_one()
    return Backlog(
        live=await _count(db, journal_due.c.lane == Lane.LIVE),
        replay=await _count(db, journal_due.c.lane == Lane.REPLAY),
        deferred=await _count(db, journal_due.c.attempts > 0),
        oldest_seconds=max(0.0, float(age or 0)),
    )


async def _count(db: AsyncConnection, condition: ColumnElement[bool]) -> int:
    some = select(journal_due.c.event_id).where(condition).limit(MEASURED).subquery()
    count: int = (await db.execute(select(func.count()).select_from(some))).scalar_one()
    return count


async def maintain_partitions(db: AsyncConnection, *, keep: timedelta) -> None:
    """Creates the partitions of the coming months, and drops those of months that ended longer than `keep` ago."""
    await db.execute(select(func.maintain_journal_events(keep)))
