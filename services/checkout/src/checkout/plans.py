"""A plan ends by itself: a schedule on its subscription, attached when the first instalment is paid.

Checkout cannot carry a schedule, and a subscription without one goes on charging for ever.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import structlog

from checkout import db as store
from checkout.domain import months_left
from checkout.stripe_client import Stripe, StripeRefuses
from kit.backoff import Backoff
from kit.effects import Effect
from kit.failures import Transient
from kit.work import Work

log = structlog.get_logger(__name__)

KIND = "plan_schedule"


async def want_end(work: Work, *, purchase_id: UUID, subscription_id: str, instalments: int) -> None:
    """Wants the plan's end, once per purchase."""
    payload = {"purchase_id": str(purchase_id), "subscription_id": subscription_id, "instalments": instalments}
    await work.want(KIND, key=f"{purchase_id}/schedule", payload=payload)


class PlanEnd:
    """Looks before it makes, and makes under keys of its own: however often it is tried, there is one schedule."""

    # it is not too late for three months: whatever is wrong, somebody can mend it meanwhile
    backoff = Backoff(longest=timedelta(hours=1), attempts=1_000)

    def __init__(self, stripe: Stripe) -> None:
        self._stripe = stripe

    async def perform(self, effect: Effect) -> str | None:
        """The schedule's id; None for a subscription that has ended already."""
        try:
            return await self._attach(effect)
        except StripeRefuses as refusal:  # to give up would charge for ever
            raise Transient(str(refusal)) from refusal

    async def _attach(self, effect: Effect) -> str | None:
        purchase_id, instalments = str(effect.payload["purchase_id"]), int(effect.payload["instalments"])
        subscription = await self._stripe.subscription(effect.payload["subscription_id"])
        if subscription.ended:
            return None
        if subscription.schedule_id is not None:
            schedule = await self._stripe.schedule(subscription.schedule_id)
        else:
            schedule = await self._stripe.schedule_from(subscription.id, key=f"{effect.key}/create")
        if schedule.over or schedule.ends_by_itself:
            return schedule.id
        left = months_left(started=subscription.started, phase_start=schedule.phase_start, instalments=instalments)
        if left < 1:
            log.error("plan has outrun its instalments", purchase=purchase_id)
            await self._stripe.end_subscription(subscription.id, key=f"{effect.key}/end")
            return schedule.id
        ended = await self._stripe.end_after(
            schedule, months=left, metadata={"purchase_id": purchase_id}, key=f"{effect.key}/end_after/{left}"
        )
        return ended.id

    async def record(self, effect: Effect, result: str | None, work: Work) -> None:
        await store.write_schedule(work.db, UUID(effect.payload["purchase_id"]), result, at=work.now)

    async def give_up(self, effect: Effect, error: BaseException, work: Work) -> None:
        log.error("plan goes on for ever", purchase=effect.payload["purchase_id"])
