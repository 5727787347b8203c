"""What milady-integration does about the events of its queues."""

from __future__ import annotations

from collections.abc import Sequence

from faststream.rabbit import RabbitRouter

from contracts.checkout import PurchaseCreated, StudentUpdated
from contracts.envelope import Envelope
from contracts.payments import PaymentEvent
from contracts.registry import PAYMENT_EVENTS
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.subscriber import carries, projects, subscriber
from kit.runtime.trace import cause_of
from ledger.policy import DEFAULT_POLICY, Policy
from milady_integration import repository
from milady_integration.domain import Mode
from milady_integration.projection import enrollments_of
from milady_integration.topology import PAYMENTS, PURCHASES


def payments(mode: Mode = "api", policy: Policy = DEFAULT_POLICY) -> RabbitRouter:
    router = RabbitRouter()
    payments = subscriber(router, PAYMENTS)
    enrollments = enrollments_of(policy, mode)

    @payments(filter=projects(enrollments, *PAYMENT_EVENTS))
    async def project_enrollments(event: Envelope[PaymentEvent], uow: UnitOfWork) -> None:
        await enrollments.apply(uow, event)

    return router


def purchases() -> RabbitRouter:
    router = RabbitRouter()
    purchases = subscriber(router, PURCHASES)

    async def register_purchases(uow: UnitOfWork, events: Sequence[Envelope[PurchaseCreated]]) -> None:
        await repository.insert_unpaid_enrollments(uow, events)
        named = [(program, cause_of(event)) for event in events for program in event.data.program.parts]
        await repository.register_programs(uow, named)

    @purchases(filter=carries(PurchaseCreated, together=register_purchases))
    async def register_purchase(event: Envelope[PurchaseCreated], uow: UnitOfWork) -> None:
        """The enrollments exist, unpaid; and the catalog knows which programs are Milady's."""
        await register_purchases(uow, [event])

    async def update_contacts(uow: UnitOfWork, events: Sequence[Envelope[StudentUpdated]]) -> None:
        await repository.write_contacts(uow.db, events)

    @purchases(filter=carries(StudentUpdated, together=update_contacts))
    async def update_contact(event: Envelope[StudentUpdated], uow: UnitOfWork) -> None:
        """Enrollments from now on are sent with it; what the provider has already stays as it is there."""
        await update_contacts(uow, [event])

    return router
