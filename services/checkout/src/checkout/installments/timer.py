"""The durable timers of installments, and of enrollments whose first installment was never paid."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from checkout.installments import repository
from checkout.installments.announcements import announce
from checkout.installments.clock import Clock
from checkout.purchases import repository as purchases
from checkout.topology import SERVICE
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.runtime.sweeps import repeat

COLLECTION = "installment_collection"
ENROLLMENT_EXPIRY = "enrollment_expiry"
"""The kinds of jobs that the timers enqueue."""
SWEEP_SECONDS = 1.0
ANNOUNCED = timedelta(days=3)
_BATCH = 100


class Timer:
    """Enqueues a job for each timer that has fired. Any number of these may run side by side."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        seconds: float = SWEEP_SECONDS,
        announced_ahead: timedelta = ANNOUNCED,
    ) -> None:
        """`announced_ahead`: how long before it is collected an installment is announced."""
        self._database = database
        self._clock = clock
        self._seconds = seconds
        self._announced_ahead = announced_ahead

    async def run(self, stop: asyncio.Event) -> None:
        async def sweep() -> bool:
            return await self.sweep() == _BATCH

        await repeat(sweep, stop, name="installments", seconds=self._seconds)

    async def sweep(self) -> int:
        """The number of timers that have fired."""
        now = await self._clock.now()
        async with self._database.transaction() as db:
            uow = UnitOfWork(db=db, source=SERVICE, now=utc_now())
            due = await repository.lock_due(db, now=now, limit=_BATCH)
            for installment in due:
                number = installment.timers + 1
                await repository.write(db, installment.id, at=uow.now, timers=number, next_attempt_at=None)
                payload = {
                    "purchase_id": str(installment.purchase_id),
                    "installment_id": str(installment.id),
                    "round": installment.round,
                    "timer": number,
                }
                await uow.enqueue(COLLECTION, key=f"{installment.reference}/{number}", payload=payload)
            until = now + self._announced_ahead
            announced = await repository.lock_to_announce(db, now=now, until=until, limit=_BATCH)
            for installment in announced:
                await announce(uow, installment)
            unpaid = await purchases.take_expired(db, now=now, limit=_BATCH)
            for purchase_id in unpaid:
                payload = {"purchase_id": str(purchase_id)}
                await uow.enqueue(ENROLLMENT_EXPIRY, key=f"{purchase_id}/expiry/{now:%Y%m%dT%H%M%S}", payload=payload)
        return max(len(due), len(announced), len(unpaid))
