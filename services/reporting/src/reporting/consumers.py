"""The one handler: every event is recorded, whatever its type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from faststream.rabbit import RabbitRouter

from contracts.audit import AuditRecorded
from contracts.envelope import Envelope, Event
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.subscriber import carries, subscriber
from reporting import audit_trail, event_log
from reporting.topology import EVENTS


def consumers() -> RabbitRouter:
    router = RabbitRouter()
    events = subscriber(router, EVENTS)

    @events(filter=carries(*EVENTS.events, together=record_all, unknown=True))
    async def record(event: Envelope[Event], uow: UnitOfWork) -> None:
        await record_all(uow, [event])

    return router


async def record_all(uow: UnitOfWork, received: Sequence[Envelope[Any]]) -> None:
    """All of a batch, in two statements; three more if there are audit records among them."""
    await event_log.append(uow.db, received)
    await audit_trail.append(uow.db, [event for event in received if isinstance(event.data, AuditRecorded)])
