"""Handlers of the events in enrollment's queues."""

from __future__ import annotations

from faststream.rabbit import RabbitRouter

from contracts.checkout import CatalogItemChanged
from contracts.envelope import Envelope
from contracts.payments import PaymentEvent
from contracts.registry import PAYMENT_EVENTS
from enrollment import curricula, progress_repository
from enrollment.projection import enrollments_of
from enrollment.topology import CATALOG, PAYMENTS
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.subscriber import carries, projects, subscriber
from ledger.policy import DEFAULT_POLICY, Policy


def payments(policy: Policy = DEFAULT_POLICY) -> RabbitRouter:
    router = RabbitRouter()
    payments = subscriber(router, PAYMENTS)
    enrollments = enrollments_of(policy)

    @payments(filter=projects(enrollments, *PAYMENT_EVENTS))
    async def project_enrollments(event: Envelope[PaymentEvent], uow: UnitOfWork) -> None:
        await enrollments.apply(uow, event)

    return router


def catalog() -> RabbitRouter:
    router = RabbitRouter()
    catalog = subscriber(router, CATALOG)

    @catalog(filter=carries(CatalogItemChanged))
    async def update_curriculum(event: Envelope[CatalogItemChanged], uow: UnitOfWork) -> None:
        """Active enrollments without progress start now; those in progress keep the copy that they started with."""
        if await curricula.replace(uow, event.data):
            waiting = await curricula.without_progress(uow.db, event.data.item.slug)
            await progress_repository.start(uow.db, waiting, projects=event.data.projects)

    return router
