"""Reads a subscription at Stripe, and publishes its state if that is not what the last event reported.

What is published becomes the latest state for every service, so it must be newer than anything stored before. The row's
revision proves that: it is read before Stripe is called, and if it differs afterward, an event (or another read) was
stored meanwhile and Stripe is called again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog

from checkout.catalog.repository import uuid_in
from checkout.memberships import domain, repository
from checkout.purchases import repository as purchase_repository
from checkout.purchases.jobs import PATIENT
from checkout.stripe_client import Stripe, StripeRejected
from checkout.stripe_client.memberships import StripeMembership
from contracts.payments import PaymentRefs, SubscriptionChanged
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork
from kit.jobs.jobs import Job
from kit.runtime.failures import Transient

log = structlog.get_logger(__name__)

_MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What Stripe answered when the row was at `revision`."""

    revision: int
    subscription: StripeMembership


class MembershipSync:
    backoff = PATIENT

    def __init__(self, database: Database, stripe: Stripe) -> None:
        self._database = database
        self._stripe = stripe

    async def perform(self, job: Job) -> Reading | None:
        async with self._database.transaction() as db:
            membership = await repository.read(db, _id(job))
        if membership is None:
            return None
        subscription = await self._stripe.membership(membership.stripe_subscription_id)
        return Reading(revision=membership.revision, subscription=subscription)

    async def record(self, job: Job, result: Reading | None, uow: UnitOfWork) -> None:
        stored = await repository.lock(uow.db, _id(job))
        purchase = await purchase_repository.read_row(uow.db, _id(job))
        if stored is None or purchase is None or result is None:
            return
        if stored.revision != result.revision:
            raise Transient("the membership changed while Stripe was called")
        read = result.subscription
        tier = read.tier or stored.state.tier
        likely = (uuid_in(read.program_id or ""), stored.item_id)
        item = await repository.item_of_tier(uow.db, tier, likely=likely)
        event = SubscriptionChanged(
            refs=PaymentRefs(subscription=read.id),
            purchase_id=stored.id,
            student_id=stored.student_id,
            program=item.as_program() if item else purchase.program,
            payer=purchase.payer,
            status=read.status,
            cancel_at_period_end=read.cancel_at_period_end,
            current_period_end=read.current_period_end,
            ended_at=read.ended_at,
            tier=tier,
            collection_paused=read.paused,
            as_of=max(uow.now, stored.as_of + _MOMENT),
        )
        state, as_of = domain.state_of(event, tier=tier), stored.as_of
        if state != stored.state:
            as_of = domain.time_of(event)
            await uow.publish(event, id=f"{job.key}/{event.type}", subject=str(stored.id))
        await repository.write_state(uow.db, stored.id, state, as_of=as_of, at=uow.now)
        await repository.write_reading(
            uow.db,
            stored.id,
            interval=read.interval,
            price_id=read.price_id,
            resumes_at=read.resumes_at,
            item_id=item.id if item else None,
        )

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        log.error("failed to read membership at Stripe", purchase=job.payload["purchase_id"])


class CreditReturn:
    """Takes back the credit of a membership that a lost dispute has ended: its money has gone back to the payer."""

    backoff = PATIENT

    def __init__(self, stripe: Stripe) -> None:
        self._stripe = stripe

    async def perform(self, job: Job) -> int:
        """Minor units. First the subscription has to be canceled, so that it adds no more."""
        subscription_id = str(job.payload["subscription_id"])
        try:
            if not (await self._stripe.membership(subscription_id)).ended:
                raise Transient("the subscription is not canceled yet")
            return await self._stripe.take_back_credit(subscription_id)
        except StripeRejected as rejected:
            raise Transient(str(rejected)) from rejected

    async def record(self, job: Job, result: int, uow: UnitOfWork) -> None:
        log.info("credit taken back", purchase=job.payload["purchase_id"], amount=result)

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        log.error("failed to take back the credit of a disputed membership", purchase=job.payload["purchase_id"])


def _id(job: Job) -> UUID:
    return UUID(job.payload["purchase_id"])
