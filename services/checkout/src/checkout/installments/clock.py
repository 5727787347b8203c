"""The clock by which installments fall due. Only tests can move it, and only forward."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.installments.tables import test_clock
from checkout.topology import SERVICE
from contracts.audit import Act
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.http import audit


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
        """By an admin, or without a request by a test."""
        async with self._database.transaction_of(student_id=None, role="admin") as db:
            moved = insert(test_clock).values(id=True, ahead=by)
            await db.execute(
                moved.on_conflict_do_update(
                    index_elements=["id"], set_={"ahead": test_clock.c.ahead + moved.excluded.ahead}
                )
            )
            if audit.current_actor() is not None:
                uow = UnitOfWork(db=db, source=SERVICE, now=utc_now())
                moved_by = {"seconds": int(by.total_seconds())}
                await audit.record(uow, Act.of("clock.advanced", "test_clock", "test_clock", after=moved_by))
        return await self.now()


async def ahead(db: AsyncConnection) -> timedelta:
    """How far the test clock is ahead; zero if it was never moved."""
    found: timedelta | None = (await db.execute(select(test_clock.c.ahead))).scalar_one_or_none()
    return found or timedelta()
