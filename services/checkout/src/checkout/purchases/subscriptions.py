"""Cancels the subscription of a purchase that has ended: of a membership, or of a plan that was not started here."""

from __future__ import annotations

from uuid import UUID

import structlog

from checkout.purchases import repository
from checkout.purchases.jobs import PATIENT
from checkout.stripe_client import Stripe, StripeRejected
from kit.db.unit_of_work import UnitOfWork
from kit.jobs.jobs import Job
from kit.runtime.failures import Transient

log = structlog.get_logger(__name__)


async def enqueue_cancel(uow: UnitOfWork, *, purchase_id: UUID, subscription_id: str) -> None:
    """Wants the subscription canceled, once per purchase."""
    payload = {"purchase_id": str(purchase_id), "subscription_id": subscription_id}
    await uow.enqueue(
        repository.SUBSCRIPTION_CANCEL, key=repository.subscription_cancel_key(purchase_id), payload=payload
    )


class SubscriptionCancel:
    """Ends the subscription now, and what it has not collected yet. Looks first, each time.

    The idempotency keys belong to one attempt: Stripe would repeat an error that it stored under the same key.
    Canceling twice changes nothing.
    """

    backoff = PATIENT

    def __init__(self, stripe: Stripe) -> None:
        self._stripe = stripe

    async def perform(self, job: Job) -> int:
        """How many invoices were voided."""
        try:
            return await self._cancel(job.payload["subscription_id"], key=f"{job.key}/{job.attempt}")
        except StripeRejected as rejected:  # if the job gave up, the subscription would keep charging
            raise Transient(str(rejected)) from rejected

    async def _cancel(self, subscription_id: str, *, key: str) -> int:
        subscription = await self._stripe.subscription(subscription_id)
        if not subscription.ended and subscription.schedule_id is not None:
            schedule = await self._stripe.schedule(subscription.schedule_id)
            if not schedule.over:
                await self._stripe.end_schedule(schedule.id, key=f"{key}/schedule")
            subscription = await self._stripe.subscription(subscription_id)
        if not subscription.ended:
            await self._stripe.end_subscription(subscription_id, key=f"{key}/subscription")
        # only now: nothing can be added to them any more
        unpaid = await self._stripe.unpaid_invoices(subscription_id)
        for invoice in unpaid:
            await self._stripe.void_invoice(invoice, key=f"{key}/{invoice.id}")
        return len(unpaid)

    async def record(self, job: Job, result: int, uow: UnitOfWork) -> None:
        """That it is done is all there is to know: the student may buy again."""
        log.info("subscription canceled", purchase=job.payload["purchase_id"], voided=result)

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        log.error("failed to cancel subscription; it will keep charging", purchase=job.payload["purchase_id"])
