"""Looks at a subscription at Stripe, and says how it stands when that is not what was heard last.

What is said becomes the last word for everybody, so it must be younger than all that was known. The row's revision
proves that: it is noted before Stripe is asked, and when it is another one afterward, something was heard (or
another look was recorded) meanwhile, and Stripe is asked again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Row

from checkout.catalog.repository import uuid_in
from checkout.memberships import repository
from checkout.memberships.event_handlers import word_of
from checkout.purchases import repository as purchase_store
from checkout.purchases.plans import PATIENT
from checkout.stripe_client import Stripe
from checkout.stripe_client.memberships import StripeMembership
from contracts.payments import PaymentRefs, SubscriptionChanged
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork
from kit.jobs.jobs import Job
from kit.runtime.failures import Transient

log = structlog.get_logger(__name__)

_MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What Stripe said, asked when the row was at `revision`."""

    revision: int
    membership: StripeMembership


class MembershipSync:
    backoff = PATIENT

    def __init__(self, database: Database, stripe: Stripe) -> None:
        self._database = database
        self._stripe = stripe

    async def perform(self, job: Job) -> Seen | None:
        async with self._database.transaction() as db:
            row = await repository.read(db, _id(job))
        if row is None:
            return None
        return Seen(revision=row.revision, membership=await self._stripe.membership(row.stripe_subscription_id))

    async def record(self, job: Job, result: Seen | None, uow: UnitOfWork) -> None:
        row = await repository.lock(uow.db, _id(job))
        purchase = await purchase_store.read_row(uow.db, _id(job))
        if row is None or purchase is None or result is None:
            return
        if row.revision != result.revision:
            raise Transient("more was heard of the membership meanwhile")
        seen = result.membership
        likely = (uuid_in(seen.program_id or ""), row.item_id)
        item = await repository.item_of_tier(uow.db, seen.tier or row.tier, likely=likely)
        word = SubscriptionChanged(
            refs=PaymentRefs(subscription=seen.id),
            purchase_id=row.id,
            student_id=row.student_id,
            program=item.as_program() if item else purchase_store.program_of(purchase),
            payer=purchase.payer,
            status=seen.status,
            cancel_at_period_end=seen.cancel_at_period_end,
            current_period_end=seen.current_period_end,
            ended_at=seen.ended_at,
            tier=seen.tier or row.tier,
            collection_paused=seen.paused,
            as_of=max(uow.now, row.as_of + _MOMENT),
        )
        values = {**word_of(word, tier=row.tier), "interval": seen.interval, "stripe_price_id": seen.price_id}
        if item is not None:
            values["item_id"] = item.id
        if _differs(row, word):
            values["as_of"] = word.as_of
            await uow.publish(word, id=f"{job.key}/{word.type}", subject=str(row.id))
        await repository.write(uow.db, row.id, values, at=uow.now)

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        log.error("membership cannot be looked at", purchase=job.payload["purchase_id"])


def _differs(row: Row[Any], word: SubscriptionChanged) -> bool:
    return any(getattr(row, name) != value for name, value in word_of(word, tier=row.tier).items())


def _id(job: Job) -> UUID:
    return UUID(job.payload["purchase_id"])
