"""A plan ends by itself: a schedule on its subscription, attached when the first installment is paid.

Checkout cannot carry a schedule, and a subscription without one never stops charging. When the purchase is
withdrawn (refunded in full, or a dispute is lost), the plan is canceled early. The two may happen in any order: a
subscription that has ended at Stripe takes no schedule.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import structlog

from checkout.purchases import repository
from checkout.purchases.domain import months_left
from checkout.purchases.jobs import PATIENT
from checkout.stripe_client import Stripe, StripeRejected
from kit.db.unit_of_work import UnitOfWork
from kit.jobs.jobs import Job, JobHandler
from kit.runtime.failures import Transient

log = structlog.get_logger(__name__)

KIND = "plan_schedule"


async def enqueue_end(uow: UnitOfWork, *, purchase_id: UUID, subscription_id: str, installments: int) -> None:
    """Wants the plan's end, once per purchase."""
    payload = {"purchase_id": str(purchase_id), "subscription_id": subscription_id, "installments": installments}
    await uow.enqueue(KIND, key=f"{purchase_id}/schedule", payload=payload)


class PlanEnd:
    """Looks before it makes, and makes under keys of its own: however often it is tried, there is one schedule."""

    # the next charge is a month away: there is time to fix whatever is wrong
    backoff = PATIENT

    def __init__(self, stripe: Stripe) -> None:
        self._stripe = stripe

    async def perform(self, job: Job) -> str | None:
        """The schedule's id; None for a subscription that has ended already."""
        try:
            return await self._attach(job)
        except StripeRejected as rejected:  # if the job gave up, the subscription would keep charging
            raise Transient(str(rejected)) from rejected

    async def _attach(self, job: Job) -> str | None:
        purchase_id, installments = str(job.payload["purchase_id"]), int(job.payload["installments"])
        subscription = await self._stripe.subscription(job.payload["subscription_id"])
        if subscription.ended:
            return None
        if subscription.schedule_id is not None:
            schedule = await self._stripe.schedule(subscription.schedule_id)
        else:
            schedule = await self._stripe.schedule_from(subscription.id, key=f"{job.key}/create")
        if schedule.over or schedule.ends_by_itself:
            return schedule.id
        left = months_left(started=subscription.started, phase_start=schedule.phase_start, installments=installments)
        if left < 1:
            log.error("plan has charged more than its installments", purchase=purchase_id)
            await self._stripe.end_subscription(subscription.id, key=f"{job.key}/end")
            return schedule.id
        ended = await self._stripe.end_after(
            schedule, months=left, metadata={"purchase_id": purchase_id}, key=f"{job.key}/end_after/{left}"
        )
        return ended.id

    async def record(self, job: Job, result: str | None, uow: UnitOfWork) -> None:
        await repository.write_schedule(uow.db, UUID(job.payload["purchase_id"]), result, at=uow.now)

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        log.error("failed to schedule plan end; subscription will keep charging", purchase=job.payload["purchase_id"])


async def enqueue_cancel(uow: UnitOfWork, *, purchase_id: UUID, subscription_id: str) -> None:
    """Wants the plan canceled, once per purchase."""
    payload = {"purchase_id": str(purchase_id), "subscription_id": subscription_id}
    await uow.enqueue(repository.PLAN_CANCEL, key=repository.plan_cancel_key(purchase_id), payload=payload)


class PlanCancel:
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
        log.info("plan canceled", purchase=job.payload["purchase_id"], voided=result)

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        log.error("failed to cancel plan; subscription will keep charging", purchase=job.payload["purchase_id"])


def handlers(stripe: Stripe) -> Mapping[str, JobHandler[Any]]:
    return {KIND: PlanEnd(stripe), repository.PLAN_CANCEL: PlanCancel(stripe)}
