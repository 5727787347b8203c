"""What checkout does when a customer was deleted at Stripe, or has revoked a mandate."""

from __future__ import annotations

from uuid import UUID

import structlog
from faststream.rabbit import RabbitRouter

from checkout.purchases import customers, student_repository
from checkout.purchases.jobs import PATIENT
from checkout.stripe_client import Stripe, StripeRejected
from checkout.topology import CUSTOMERS
from contracts.envelope import Envelope
from contracts.payments import CustomerDeleted, MandateRevoked
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork
from kit.jobs.jobs import Job
from kit.messaging.subscriber import carries, subscriber
from kit.runtime.failures import Transient

log = structlog.get_logger(__name__)

DELETION = "customer_deletion"
REPLACEMENT = "customer_replacement"
DETACHMENT = "method_detachment"
"""The kinds of jobs about customers."""


def customer_events() -> RabbitRouter:
    router = RabbitRouter()
    messages = subscriber(router, CUSTOMERS)

    @messages(filter=carries(CustomerDeleted))
    async def replace_deleted_customer(event: Envelope[CustomerDeleted], uow: UnitOfWork) -> None:
        gone = event.data.customer
        student_id = await student_repository.student_of_customer(uow.db, gone)
        if student_id is not None:
            payload = {"student_id": str(student_id), "customer": gone}
            await uow.enqueue(REPLACEMENT, key=f"{gone}/replacement", payload=payload)

    @messages(filter=carries(MandateRevoked))
    async def detach_revoked_method(event: Envelope[MandateRevoked], uow: UnitOfWork) -> None:
        """Without a mandate, the bank account cannot be debited: what is due next asks for another method."""
        method = event.data.payment_method
        await uow.enqueue(DETACHMENT, key=f"{method}/detachment", payload={"payment_method": method})

    return router


class CustomerReplacement:
    """Makes a new customer for a student whose customer was deleted, together with all saved payment methods."""

    backoff = PATIENT

    def __init__(self, database: Database, stripe: Stripe) -> None:
        self._database = database
        self._stripe = stripe

    async def perform(self, job: Job) -> str | None:
        student_id, gone = UUID(job.payload["student_id"]), str(job.payload["customer"])
        async with self._database.transaction() as db:
            if await student_repository.student_of_customer(db, gone) is None:
                return None  # replaced already, or the student is erased
            contact = await student_repository.read_contact(db, student_id)
        try:
            return await customers.create_with_contact(self._stripe, student_id, contact, after=gone)
        except StripeRejected as rejected:
            raise Transient(str(rejected)) from rejected

    async def record(self, job: Job, result: str | None, uow: UnitOfWork) -> None:
        student_id, gone = UUID(job.payload["student_id"]), str(job.payload["customer"])
        if result is None:
            return
        if await student_repository.replace_customer(uow.db, student_id, gone, result, at=uow.now) is None:
            await uow.enqueue(DELETION, key=f"{result}/deletion", payload={"customer": result})  # erased meanwhile

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        log.error("deleted customer could not be replaced", student=job.payload["student_id"])


class CustomerDeletion:
    """Deletes the customer of an erased student, with the contact and all saved payment methods. Stripe keeps the
    payments."""

    backoff = PATIENT

    def __init__(self, stripe: Stripe) -> None:
        self._stripe = stripe

    async def perform(self, job: Job) -> None:
        await self._stripe.delete_customer(str(job.payload["customer"]))

    async def record(self, job: Job, result: None, uow: UnitOfWork) -> None:
        log.info("customer deleted", customer=job.payload["customer"])

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        log.error("customer could not be deleted", customer=job.payload["customer"])


class MethodDetachment:
    """Removes a payment method whose mandate was revoked, so that nothing charges it."""

    backoff = PATIENT

    def __init__(self, stripe: Stripe) -> None:
        self._stripe = stripe

    async def perform(self, job: Job) -> None:
        try:
            await self._stripe.detach_method(str(job.payload["payment_method"]))
        except StripeRejected as rejected:  # detached already, or deleted with its customer
            log.info("payment method is gone", code=rejected.code)

    async def record(self, job: Job, result: None, uow: UnitOfWork) -> None:
        log.info("payment method detached", payment_method=job.payload["payment_method"])

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        log.error("payment method could not be detached", payment_method=job.payload["payment_method"])
