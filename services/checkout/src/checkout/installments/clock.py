"""The clock by which installments fall due. Only tests can move it, and only forward."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.installments.tables import test_clock
from kit.db.database import Database
from kit.db.unit_of_work import utc_now


class Clock:
    """`enabled`: whether the test clock is used. All processes of one database share it."""

    def __init__(self, database: Database, *, enabled: bool) -> None:
        self._database = database
        self.enabled = enabled

    async def now(self) -> datetime:
        if not self.enabled:
            return utc_now()
        async with self._database.transaction() as db:
            return utc_now() + await ahead(db)

    async def now_in(self, db: AsyncConnection) -> datetime:
        """`now`, within an open transaction."""
        return utc_now() + await ahead(db) if self.enabled else utc_now()

    async def advance(self, by: timedelta) -> datetime:
        """By an admin."""
        async with self._database.transaction_of(student_id=None, role="admin") as db:
            moved = insert(test_clock).values(id=True, ahead=by)
            await db.execute(
                moved.on_conflict_do_update(
                    index_elements=["id"], set_={"ahead": test_clock.c.ahead + moved.excluded.ahead}
                )
            )
        return await self.now()


async def ahead(db: AsyncConnection) -> timedelta:
    """How far the test clock is ahead; zero if it was never moved."""
    found: timedelta | None = (await db.execute(select(test_clock.c.ahead))).scalar_one_or_none()
    return found or timedelta()
