"""Every event is recorded, whatever its type; payment events and catalog items again, for the figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from faststream.rabbit import RabbitRouter

from contracts.audit import AuditRecorded
from contracts.checkout import CatalogItemChanged
from contracts.envelope import Envelope, Event
from contracts.payments import PaymentEvent
from contracts.registry import PAYMENT_EVENTS
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.subscriber import carries, subscriber
from reporting import audit_trail, event_log
from reporting.figures import catalog
from reporting.figures.projection import project_all
from reporting.topology import CATALOG, EVENTS, PAYMENTS


def consumers() -> RabbitRouter:
    router = RabbitRouter()
    events = subscriber(router, EVENTS)

    @events(filter=carries(*EVENTS.events, together=record_all, unknown=True))
    async def record(event: Envelope[Event], uow: UnitOfWork) -> None:
        await record_all(uow, [event])

    @subscriber(router, PAYMENTS)(filter=carries(*PAYMENT_EVENTS, together=project_all))
    async def project_payments(event: Envelope[PaymentEvent], uow: UnitOfWork) -> None:
        await project_all(uow, [event])

    @subscriber(router, CATALOG)(filter=carries(CatalogItemChanged))
    async def update_item(event: Envelope[CatalogItemChanged], uow: UnitOfWork) -> None:
        await catalog.update(uow.db, event.data)

    return router


async def record_all(uow: UnitOfWork, received: Sequence[Envelope[Any]]) -> None:
    """All of a batch, in two statements; three more if there are audit records among them."""
    await event_log.append(uow.db, received)
    await audit_trail.append(uow.db, [event for event in received if isinstance(event.data, AuditRecorded)])
