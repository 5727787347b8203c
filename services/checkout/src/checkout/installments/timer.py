"""The durable timers of amounts due, and of enrollments that nobody has begun to pay."""

from __future__ import annotations

import asyncio

import structlog
from sqlalchemy import and_, exists, or_, select, update

from checkout.installments.clock import Clock
from checkout.installments.tables import schedules
from checkout.purchases.tables import purchases
from checkout.topology import SERVICE
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.runtime.failures import describe

log = structlog.get_logger(__name__)

CHARGE = "installment"
ENROLLMENT_EXPIRY = "enrollment_expiry"
SWEEP_SECONDS = 1.0
_MOST = 100


class Timer:
    """Wants an effect for each timer that has run out. Any number may run beside each other."""

    def __init__(self, database: Database, clock: Clock, *, seconds: float = SWEEP_SECONDS) -> None:
        self._database = database
        self._clock = clock
        self._seconds = seconds

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            more = False
            try:
                more = await self.sweep() == _MOST
            except Exception as error:
                log.warning("timers wait", error=describe(error))
            if not more:
                try:
                    async with asyncio.timeout(self._seconds):
                        await stop.wait()
                except TimeoutError:
                    continue

    async def sweep(self) -> int:
        """How many timers have run out."""
        now = await self._clock.now()
        async with self._database.transaction() as db:
            uow = UnitOfWork(db=db, source=SERVICE, now=utc_now())
            # a purchase is paid for on its own first; a sponsor is sent a bill for that, too
            ready = or_(purchases.c.state == "paid", purchases.c.payer == "sponsor")
            live = exists().where(
                and_(
                    purchases.c.id == schedules.c.purchase_id,
                    purchases.c.canceled_at.is_(None),
                    purchases.c.state.in_(("awaiting_payment", "processing", "paid")),
                    ready,
                )
            )
            wanted = (
                select(schedules)
                .where(schedules.c.status == "open", schedules.c.next_attempt_at <= now, live)
                .order_by(schedules.c.next_attempt_at)
                .limit(_MOST)
                .with_for_update(skip_locked=True)
            )
            due = (await db.execute(wanted)).all()
            for row in due:
                number = row.timers + 1
                values = {"timers": number, "next_attempt_at": None, "updated_at": uow.now}
                await db.execute(update(schedules).where(schedules.c.id == row.id).values(**values))
                payload = {
                    "purchase_id": str(row.purchase_id),
                    "schedule_id": str(row.id),
                    "round": row.round,
                    "timer": number,
                }
                await uow.enqueue(CHARGE, key=f"{row.id}:{row.round}/{number}", payload=payload)
            unpaid = (
                select(purchases.c.id)
                .where(
                    purchases.c.how == "schedule",
                    purchases.c.state.in_(("created", "awaiting_payment", "expired")),
                    purchases.c.expires_at <= now,
                )
                .limit(_MOST)
                .with_for_update(skip_locked=True)
            )
            over = (await db.execute(unpaid)).scalars().all()
            for id in over:
                await db.execute(update(purchases).where(purchases.c.id == id).values(expires_at=None))
                await uow.enqueue(ENROLLMENT_EXPIRY, key=f"{id}/expiry", payload={"purchase_id": str(id)})
        return max(len(due), len(over))
