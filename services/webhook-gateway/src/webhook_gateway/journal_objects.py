"""Finds the journaled events that are about an object at Stripe.

The index follows the journal on its own and not in the path of a delivery, so it is refreshed before it is read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, TypeAlias

from sqlalchemy import Row, func, select, text, update

from contracts.payments import PaymentEvent
from kit.db.database import Database
from kit.http.problems import Problem
from webhook_gateway.comparison import JournaledEvent, index_keys
from webhook_gateway.event import decode
from webhook_gateway.fields import object_at, object_id
from webhook_gateway.tables import journal_events, journal_objects, object_comparison
from webhook_gateway.translate import translate

BATCH = 500
WINDOW = timedelta(days=1)
"""Of events that are read with one query: by the index on `received_at`, in no order."""
OVERLAP = timedelta(minutes=1)
"""An event is received when its transaction begins, and can be read when that ends."""

EventRow: TypeAlias = Row[Any, Any, Any]  # Any: SQLAlchemy does not infer the columns

_ADD = text(
    """
    INSERT INTO journal_objects (object_id, event_id, month)
    SELECT * FROM unnest(CAST(:objects AS text[]), CAST(:events AS text[]), CAST(:months AS date[]))
    ON CONFLICT DO NOTHING
    """
)


class JournalObjects:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def refresh(self) -> None:
        """Adds the events that were received since the last time."""
        more = True
        while more:
            async with self._database.transaction() as db:
                row = (await db.execute(select(object_comparison.c.indexed_until, func.now()))).one()
            since: datetime = row[0] - OVERLAP
            until: datetime = min(since + WINDOW, row[1])
            await self._add(since, until)
            later = func.greatest(object_comparison.c.indexed_until, until)
            async with self._database.transaction() as db:
                await db.execute(update(object_comparison).values(indexed_until=later))
            more = until < row[1]

    async def find(self, ids: Collection[str]) -> Mapping[str, Sequence[JournaledEvent]]:
        """The journaled events by the object, of those that are in the index."""
        objects, events = journal_objects.c, journal_events.c
        async with self._database.transaction() as db:
            found = (await db.execute(select(journal_objects).where(objects.object_id.in_(ids)))).all()
            bodies = select(events.event_id, events.body, events.received_at).where(
                events.month.in_({row.month for row in found}), events.event_id.in_({row.event_id for row in found})
            )
            stored = {row.event_id: row for row in await db.execute(bodies)} if found else {}
        read = {row.event_id: _journaled(row.object_id, stored.get(row.event_id)) for row in found}
        by_object: dict[str, list[JournaledEvent]] = defaultdict(list)
        for row in sorted(found, key=lambda row: str(row.event_id)):
            by_object[row.object_id].append(read[row.event_id])
        return by_object

    async def _add(self, since: datetime, until: datetime) -> None:
        events = journal_events.c
        selected = select(events.event_id, events.month, events.body).where(
            events.month.between(_month(since), _month(until)), events.received_at >= since, events.received_at <= until
        )
        async with self._database.transaction() as db, db.stream(selected) as result:
            async for rows in result.partitions(BATCH):
                await self._add_all(rows)

    async def _add_all(self, rows: Sequence[EventRow]) -> None:
        found: set[tuple[str, str, date]] = set()
        for row in rows:
            try:
                found |= {(key, row.event_id, row.month) for key in index_keys(decode(row.body))}
            except Problem:
                continue  # the relay reports it
        if not found:
            return
        ordered = sorted(found)  # two that add the same rows cannot deadlock
        objects, event_ids, months = (list(column) for column in zip(*ordered, strict=True))
        async with self._database.transaction() as db:
            await db.execute(_ADD, {"objects": objects, "events": event_ids, "months": months})


def _journaled(indexed_id: str, row: EventRow | None) -> JournaledEvent:
    if row is None:
        return JournaledEvent(object_id=indexed_id, event=None, dropped=True)
    content = decode(row.body)
    own_id = object_id(object_at(content, "data", "object"), "id") or indexed_id
    published = (envelope.data for envelope in translate(content, received_at=row.received_at))
    event = next((each for each in published if isinstance(each, PaymentEvent)), None)
    return JournaledEvent(object_id=own_id, event=event)


def _month(time: datetime) -> date:
    return time.date().replace(day=1)
