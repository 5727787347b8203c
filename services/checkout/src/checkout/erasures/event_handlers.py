"""What checkout does when an erasure was requested, and when a service has made it."""

from __future__ import annotations

import structlog
from faststream.rabbit import RabbitRouter
from sqlalchemy import delete

from checkout.erasures import repository
from checkout.purchases.jobs import PATIENT
from checkout.purchases.tables import customers
from checkout.stripe_client import Stripe
from checkout.topology import ERASURES
from contracts.envelope import Envelope
from contracts.erasure import StudentErased, StudentErasureRequested
from kit.db.unit_of_work import UnitOfWork
from kit.jobs.jobs import Job
from kit.messaging.subscriber import carries, subscriber
from kit.personal_data.erasure_requests import note_erasure

log = structlog.get_logger(__name__)

DELETION = "customer_deletion"
"""The kind of job that deletes a customer at Stripe."""


def erasure_events() -> RabbitRouter:
    router = RabbitRouter()
    messages = subscriber(router, ERASURES)

    @messages(filter=carries(StudentErasureRequested))
    async def enqueue_erasure(event: Envelope[StudentErasureRequested], uow: UnitOfWork) -> None:
        """The customer is forgotten in this transaction, so that the event of its deletion replaces it by no other."""
        await note_erasure(event, uow)
        own = delete(customers).where(customers.c.student_id == event.data.student_id)
        for customer in await uow.db.scalars(own.returning(customers.c.stripe_customer_id)):
            await uow.enqueue(DELETION, key=f"{customer}/deletion", payload={"customer": customer})

    @messages(filter=carries(StudentErased))
    async def record_receipt(event: Envelope[StudentErased], uow: UnitOfWork) -> None:
        await repository.add_receipt(uow.db, event)

    return router


class CustomerDeletion:
    """Deletes a customer at Stripe, with the contact and all saved payment methods. Stripe keeps the payments."""

    backoff = PATIENT

    def __init__(self, stripe: Stripe) -> None:
        self._stripe = stripe

    async def perform(self, job: Job) -> None:
        await self._stripe.delete_customer(str(job.payload["customer"]))

    async def record(self, job: Job, result: None, uow: UnitOfWork) -> None:
        log.info("customer deleted", customer=job.payload["customer"])

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        log.error("customer could not be deleted", customer=job.payload["customer"])
