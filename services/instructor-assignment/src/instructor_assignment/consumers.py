"""What instructor-assignment does about the events of its queue."""

from __future__ import annotations

from faststream.rabbit import RabbitRouter

from contracts.envelope import Envelope
from contracts.payments import PaymentEvent
from contracts.registry import PAYMENT_EVENTS
from instructor_assignment.projection import assignments_of
from instructor_assignment.topology import PAYMENTS
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.subscriber import projects, subscriber
from ledger.policy import DEFAULT_POLICY, Policy


def payments(policy: Policy = DEFAULT_POLICY) -> RabbitRouter:
    router = RabbitRouter()
    payments = subscriber(router, PAYMENTS)
    assignments = assignments_of(policy)

    @payments(filter=projects(assignments, *PAYMENT_EVENTS))
    async def project_assignments(event: Envelope[PaymentEvent], uow: UnitOfWork) -> None:
        await assignments.apply(uow, event)

    return router
