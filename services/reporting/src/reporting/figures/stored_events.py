"""Counts the figures again from the stored events: after an upgrade that has added them, or a change of the rules."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Text, cast, select
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.checkout import CatalogItemChanged
from contracts.envelope import Envelope
from contracts.registry import EVENT_TYPES, PAYMENT_EVENTS
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from reporting.figures import catalog
from reporting.figures.projection import project_all
from reporting.tables import events
from reporting.topology import SERVICE

_TYPES = [CatalogItemChanged.type, *(event.type for event in PAYMENT_EVENTS)]


async def rebuild(database: Database, *, size: int = 500) -> int:
    """In transactions of `size` events; consumers go on meanwhile. Rows follow the facts in any order, so it can be
    ended and repeated. Returns how many events were read."""
    after, count = "", 0
    while True:
        async with database.transaction() as db:
            found = await _page(db, after, size)
            if not found:
                return count
            uow = UnitOfWork(db=db, source=SERVICE, now=utc_now())
            await project_all(uow, [each for each in found if not isinstance(each.data, CatalogItemChanged)])
            for each in found:
                if isinstance(each.data, CatalogItemChanged):
                    await catalog.update(db, each.data)
        after, count = found[-1].id, count + len(found)


# Any: events of several types
async def _page(db: AsyncConnection, after: str, size: int) -> list[Envelope[Any]]:
    statement = (
        select(events.c.event_id, events.c.type, events.c.source, events.c.subject, events.c.time)
        .add_columns(cast(events.c.data, Text).label("body"))
        .where(events.c.event_id > after, events.c.type.in_(_TYPES))
        .order_by(events.c.event_id)
        .limit(size)
    )
    return [
        Envelope(
            id=row.event_id,
            source=row.source,
            subject=row.subject,
            time=row.time,
            data=EVENT_TYPES[row.type].model_validate_json(row.body),
        )
        for row in await db.execute(statement)
    ]
