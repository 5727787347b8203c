"""An erasure that a service has not confirmed within an hour is an alert."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

from prometheus_client import REGISTRY
from tests.checkout.service import Service
from tests.deliveries import deliver

from checkout.erasures import repository
from checkout.erasures.event_handlers import erasure_events
from checkout.erasures.measurement import ErasureMeasurement
from checkout.erasures.repository import SERVICES
from contracts.envelope import Envelope
from contracts.erasure import StudentErased
from kit.db.unit_of_work import utc_now

METRIC = "bursar_erasures_overdue"


async def measured(service: Service) -> float | None:
    await ErasureMeasurement(service.database).measure()
    return REGISTRY.get_sample_value(METRIC)


async def test_an_overdue_erasure_is_counted_until_every_service_has_confirmed_it(service: Service) -> None:
    student, now = uuid4(), utc_now()
    assert REGISTRY.get_sample_value(METRIC) is not None, "it exists from the start"
    assert await measured(service) == 0
    async with service.database.transaction() as db:
        await repository.add(db, student, request_id="r", by="ada", at=now - timedelta(minutes=50))
    assert await measured(service) == 0, "it has an hour"
    async with service.database.transaction() as db:
        await repository.add(db, student, request_id="r", by="ada", at=now - timedelta(minutes=70))
    for name in SERVICES:
        assert await measured(service) == 1, f"{name} has not"
        erased = Envelope(
            id=f"{student}/{name}/student.erased.v1",
            source=name,
            subject=str(student),
            time=now,
            causation_id="r",
            data=StudentErased(student_id=student, rows={}),
        )
        await deliver(service.database, erasure_events(), "checkout", erased)
    assert await measured(service) == 0


async def test_a_renewed_request_has_an_hour_of_its_own(service: Service) -> None:
    student = uuid4()
    for minutes, count in ((70, 1), (0, 0)):
        async with service.database.transaction() as db:
            await repository.add(db, student, request_id="r", by="ada", at=utc_now() - timedelta(minutes=minutes))
        assert await measured(service) == count
