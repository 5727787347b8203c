"""How many erasures a service has not made in time, for the alert."""

from __future__ import annotations

import asyncio

import structlog
from prometheus_client import Gauge

from checkout.erasures import repository
from checkout.erasures.repository import SERVICES
from kit.db.database import Database
from kit.db.unit_of_work import utc_now
from kit.runtime.sweeps import repeat

log = structlog.get_logger(__name__)

SECONDS = 60
OVERDUE = Gauge("bursar_erasures_overdue", "Erasures that a service has not confirmed within an hour")


class ErasureMeasurement:
    """The gauge exists from the start, at zero."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last = 0

    async def run(self, stop: asyncio.Event) -> None:
        await repeat(self.measure, stop, name="overdue erasures", seconds=SECONDS)

    async def measure(self) -> bool:
        async with self._database.transaction() as db:
            count = await repository.overdue(db, SERVICES, now=utc_now())
        if count > self._last:
            log.error("erasures overdue", count=count)
        self._last = count
        OVERDUE.set(count)
        return False
