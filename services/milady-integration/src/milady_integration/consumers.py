"""What milady-integration does about the events of its queues."""

from __future__ import annotations

from faststream.rabbit import RabbitRouter

from contracts.checkout import PurchaseCreated, StudentUpdated
from contracts.envelope import Envelope
from contracts.payments import PaymentEvent
from contracts.registry import PAYMENT_EVENTS
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.subscriber import carries, projects, subscriber
from ledger.policy import DEFAULT_POLICY, Policy
from milady_integration import domain, repository
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

    @purchases(filter=carries(PurchaseCreated))
    async def register_purchase(event: Envelope[PurchaseCreated], uow: UnitOfWork) -> None:
        """The enrollments exist, unpaid; and the catalog knows which programs are Milady's."""
        purchase = event.data
        for program in sorted(purchase.program.parts, key=lambda part: part.slug):
            await repository.insert_unpaid_enrollment(
                uow, student_id=purchase.student_id, program=program, purchase_id=purchase.purchase_id
            )
            if domain.is_milady_program(program):
                await repository.register_program(uow, program)

    @purchases(filter=carries(StudentUpdated))
    async def update_contact(event: Envelope[StudentUpdated], uow: UnitOfWork) -> None:
        """Enrollments from now on are sent with it; what the provider has already stays as it is there."""
        await repository.write_contact(uow.db, event.data.student_id, event.data.contact, as_of=event.time)

    return router
