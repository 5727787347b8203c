"""Where the comparisons with Stripe in the background stand, in the gateway's database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kit.db.database import Database
from webhook_gateway.stripe_objects import ObjectKind
from webhook_gateway.tables import journal_reconciliation, object_comparison, object_cursors

LEASE = timedelta(minutes=15)
"""After which another reconciler may continue a comparison that makes no progress."""


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """How far the comparison of one kind has come. `last_id`: of the oldest object that was compared."""

    last_id: str | None = None
    completed: bool = False
    objects: int = 0
    restored: int = 0


@dataclass(frozen=True, kw_only=True)
class Period:
    """Of the objects to compare, by their time of creation, and how far that has come."""

    since: datetime
    through: datetime
    cursors: Mapping[ObjectKind, Cursor] = field(default_factory=dict)


async def ages(db: AsyncConnection) -> Mapping[str, float]:
    """For how many seconds no comparison has been completed: of events, and of objects. If none ever was, since the
    reconciler could have made one."""
    of_events = func.coalesce(journal_reconciliation.c.completed_at, object_comparison.c.created_at)
    of_objects = func.coalesce(object_comparison.c.completed_at, object_comparison.c.created_at)
    seconds = [func.extract("epoch", func.now() - each) for each in (of_events, of_objects)]
    of_both = journal_reconciliation.join(object_comparison, true())  # a row each
    row = (await db.execute(select(*seconds).select_from(of_both))).one()
    return {"events": max(0.0, float(row[0])), "objects": max(0.0, float(row[1]))}


class ObjectComparisons:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, *, lookback: timedelta, through: datetime) -> Period | None:
        """The period that is to be compared, or the rest of the one in progress; None if nothing is due."""
        table = object_comparison
        due = update(table).where(table.c.next_at <= func.now()).values(next_at=func.now() + LEASE)
        async with self._database.transaction() as db:
            row = (await db.execute(due.returning(table))).first()
            if row is None:
                return None
            if row.through is not None:
                cursors = {each.object_kind: each for each in await db.execute(select(object_cursors))}
                resumed = {
                    kind: Cursor(
                        last_id=each.last_id, completed=each.completed, objects=each.objects, restored=each.restored
                    )
                    for kind in ObjectKind
                    if (each := cursors.get(kind)) is not None
                }
                return Period(since=row.since, through=row.through, cursors=resumed)
            period = Period(since=max(row.begins_at, through - lookback), through=through)
            await db.execute(update(table).values(since=period.since, through=period.through))
            await db.execute(delete(object_cursors))
        return period

    async def save(self, cursors: Mapping[ObjectKind, Cursor]) -> None:
        """Everything before these cursors is compared. The lease begins anew."""
        rows = [
            {
                "object_kind": kind,
                "last_id": each.last_id,
                "completed": each.completed,
                "objects": each.objects,
                "restored": each.restored,
            }
            for kind, each in cursors.items()
        ]
        async with self._database.transaction() as db:
            if rows:
                new = insert(object_cursors).values(rows)
                names = ("last_id", "completed", "objects", "restored")
                changed = {name: new.excluded[name] for name in names}
                await db.execute(new.on_conflict_do_update(index_elements=["object_kind"], set_=changed))
            await db.execute(update(object_comparison).values(next_at=func.now() + LEASE))

    async def complete(self, *, next_in: timedelta) -> None:
        values = {"since": None, "through": None, "completed_at": func.now(), "next_at": func.now() + next_in}
        async with self._database.transaction() as db:
            await db.execute(update(object_comparison).values(values))
            await db.execute(delete(object_cursors))

    async def interrupt(self, *, next_in: timedelta) -> None:
        """The comparison has failed, and is continued later where it stands."""
        async with self._database.transaction() as db:
            await db.execute(update(object_comparison).values(next_at=func.now() + next_in))
