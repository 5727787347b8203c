"""The clock by which amounts fall due. Tests may move it ahead; nothing else may, and never back."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.installments.tables import test_clock
from kit.db.database import Database
from kit.db.unit_of_work import utc_now


class Clock:
    """`enabled`: whether there is a test clock. All processes that share the database share it too."""

    def __init__(self, database: Database, *, enabled: bool) -> None:
        self._database = database
        self.enabled = enabled

    async def now(self) -> datetime:
        if not self.enabled:
            return utc_now()
        async with self._database.transaction() as db:
            return utc_now() + await ahead(db)

    async def now_in(self, db: AsyncConnection) -> datetime:
        """The same, within a transaction that is open already."""
        return utc_now() + await ahead(db) if self.enabled else utc_now()

    async def advance(self, by: timedelta) -> datetime:
        async with self._database.transaction() as db:
            moved = insert(test_clock).values(id=True, ahead=by)
            await db.execute(
                moved.on_conflict_do_update(
                    index_elements=["id"], set_={"ahead": test_clock.c.ahead + moved.excluded.ahead}
                )
            )
        return await self.now()


async def ahead(db: AsyncConnection) -> timedelta:
    """How far the test clock is ahead: not at all where there is none, for then nobody has ever moved it."""
    found: timedelta | None = (await db.execute(select(test_clock.c.ahead))).scalar_one_or_none()
    return found or timedelta()
