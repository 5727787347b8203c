"""What enrollment does about the events of its queues."""

from __future__ import annotations

from contracts.checkout import CatalogItemChanged
from contracts.envelope import Envelope
from contracts.payments import PaymentEvent
from contracts.registry import PAYMENT_EVENTS
from enrollment import curricula, progress_repository
from enrollment.projection import enrollments_of
from enrollment.topology import CATALOG, PAYMENTS
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.consumer import Consumer
from ledger.policy import DEFAULT_POLICY, Policy


def payments(policy: Policy = DEFAULT_POLICY) -> Consumer:
    consumer = Consumer(PAYMENTS)
    enrollments = enrollments_of(policy)

    @consumer.on(*PAYMENT_EVENTS)
    async def project_enrollments(event: Envelope[PaymentEvent], uow: UnitOfWork) -> None:
        await enrollments.apply(uow, event)

    return consumer


def catalog() -> Consumer:
    consumer = Consumer(CATALOG)

    @consumer.on(CatalogItemChanged)
    async def update_curriculum(event: Envelope[CatalogItemChanged], uow: UnitOfWork) -> None:
        """Active enrollments without progress start now; those under way keep the copy they started with."""
        if await curricula.replace(uow, event.data):
            waiting = await curricula.without_progress(uow.db, event.data.item.slug)
            await progress_repository.start(uow.db, waiting, projects=event.data.projects)

    return consumer
