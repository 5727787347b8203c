"""Changes a membership at Stripe, and returns what Stripe answers.

The row is not written from that answer. It follows the subscription's events, and a job that reads the subscription is
enqueued together with the change, in case the webhook is late or lost.

A change is sent under an idempotency key of the purchase, the row's revision and the parameters. Until Stripe has
answered, a retry has the same key and has no second effect. An answer, a rejection too, increments the revision, so
that the next request has another key. (The card behind a declined payment may have been replaced.)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.catalog.repository import Item
from checkout.memberships import domain, repository
from checkout.memberships.domain import At, Change, Decision, End, NoChange, RefusalCode, Refuse, Restart
from checkout.memberships.domain import SubscriptionState as State
from checkout.memberships.event_handlers import SYNC
from checkout.memberships.prices import price_for
from checkout.memberships.problems import (
    INTERVAL_NOT_OFFERED,
    MEMBERSHIP_CURRENCY_MISMATCH,
    MEMBERSHIP_ENDED,
    MEMBERSHIP_PAUSED,
    NOTHING_TO_CHANGE,
    PAYMENT_DECLINED,
    PAYMENT_DUE,
    RESUMES_IN_THE_PAST,
)
from checkout.memberships.repository import Membership
from checkout.problems import UNKNOWN_MEMBERSHIP
from checkout.purchases.context import Buyer, CheckoutContext, rejected_by_stripe, stripe_errors_as_problems
from checkout.purchases.domain import Interval
from checkout.stripe_client import StripeRejected
from checkout.stripe_client.memberships import PaymentDeclined, StripeMembership
from contracts.money import Money
from kit.db.unit_of_work import utc_now
from kit.http.problems import FORBIDDEN, Problem, ProblemType

log = structlog.get_logger(__name__)

_REFUSALS: dict[RefusalCode, ProblemType] = {
    "membership_ended": MEMBERSHIP_ENDED,
    "membership_paused": MEMBERSHIP_PAUSED,
    "nothing_to_change": NOTHING_TO_CHANGE,
    "payment_due": PAYMENT_DUE,
    "resumes_in_the_past": RESUMES_IN_THE_PAST,
    "currency_mismatch": MEMBERSHIP_CURRENCY_MISMATCH,
}


class MembershipService:
    def __init__(self, context: CheckoutContext) -> None:
        self._context = context
        self._stripe = context.stripe

    async def cancel(self, id: UUID, buyer: Buyer, *, at: At) -> StripeMembership:
        membership = await self._membership(id, buyer)
        return await self._act(membership, buyer, f"cancel_{at}", lambda state: domain.cancel(state, at=at))

    async def pause(self, id: UUID, buyer: Buyer, *, resumes_at: datetime | None) -> StripeMembership:
        now = utc_now()
        membership = await self._membership(id, buyer)
        return await self._act(
            membership, buyer, "pause", lambda state: domain.pause(state, resumes_at=resumes_at, now=now)
        )

    async def resume(self, id: UUID, buyer: Buyer) -> StripeMembership:
        return await self._act(await self._membership(id, buyer), buyer, "resume", domain.resume)

    async def change(self, id: UUID, buyer: Buyer, *, reference: str, interval: Interval | None) -> StripeMembership:
        membership = await self._membership(id, buyer)
        wanted = interval or membership.interval
        async with self._context.unit_of_work(buyer) as uow:
            item = await membership_of(uow.db, reference)
        price = price_of(item, wanted)
        if (membership.state.tier, membership.interval) == (item.tier, wanted):
            raise NOTHING_TO_CHANGE()
        subscription = await self._read(membership)
        state = _state(subscription)
        match domain.may_change(state, tier=_tier(item), interval=wanted, price=price):
            case Refuse(code=code):
                raise _refusal(code)
            case NoChange():
                return subscription
        price_id = await price_for(self._stripe, tier=_tier(item), interval=wanted, amount=price, name=item.name)
        decision = domain.change(
            state,
            item_id=subscription.item_id,
            price_id=price_id,
            price=price,
            interval=wanted,
            metadata={"tier": _tier(item), "program_id": str(item.id), "program_name": item.name},
        )
        return await self._send_once(membership, buyer, "change", decision)

    async def _membership(self, id: UUID, buyer: Buyer) -> Membership:
        async with self._context.unit_of_work(buyer) as uow:
            membership = await repository.read(uow.db, id)
        if membership is None:
            raise UNKNOWN_MEMBERSHIP("Membership not found.")
        if membership.student_id != buyer.id and buyer.role != "admin":
            raise FORBIDDEN("Only its student or an admin can change a membership.")
        if membership.state.ended:
            raise MEMBERSHIP_ENDED()
        return membership

    async def _act(
        self, membership: Membership, buyer: Buyer, action: str, decide: Callable[[State], Decision]
    ) -> StripeMembership:
        subscription = await self._read(membership)
        match decide(_state(subscription)):
            case Refuse(code=code):
                raise _refusal(code)
            case NoChange():
                return subscription
            case End() | Restart() | Change() as decision:
                return await self._send_once(membership, buyer, action, decision)

    async def _read(self, membership: Membership) -> StripeMembership:
        try:
            with stripe_errors_as_problems():
                return await self._stripe.membership(membership.stripe_subscription_id)
        except StripeRejected:
            raise rejected_by_stripe() from None

    async def _send_once(
        self, membership: Membership, buyer: Buyer, action: str, decision: Change | End | Restart
    ) -> StripeMembership:
        params = decision.params if isinstance(decision, Change) else {}
        key = f"{membership.id}/{membership.revision}/{action}"
        idempotency_key = f"{key}/{hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:16]}"
        try:
            with stripe_errors_as_problems():
                answer = await self._send(membership.stripe_subscription_id, decision, key=idempotency_key)
        except StripeRejected as rejected:
            await self._record_answer(membership, buyer, key)
            if isinstance(rejected, PaymentDeclined):
                raise PAYMENT_DECLINED(reason=rejected.code) from None
            raise rejected_by_stripe() from None
        await self._record_answer(membership, buyer, key)
        log.info("membership changed", membership=str(membership.id), action=action, by=buyer.role)
        return answer

    async def _send(self, id: str, decision: Change | End | Restart, *, key: str) -> StripeMembership:
        match decision:
            case End():
                return await self._stripe.end_membership(id, key=key)
            case Restart():
                return await self._stripe.restart_membership(id, key=key)
            case Change(params=params):
                return await self._stripe.change_membership(id, params, key=key)

    async def _record_answer(self, membership: Membership, buyer: Buyer, key: str) -> None:
        async with self._context.unit_of_work(buyer) as uow:
            await repository.increment_revision(uow.db, membership.id, at=uow.now)
            await uow.enqueue(SYNC, key=key, payload={"purchase_id": str(membership.id)})


async def membership_of(db: AsyncConnection, reference: str) -> Item:
    """The membership on sale with this slug, id or tier. Raises Problem 404."""
    if (item := await repository.find_membership(db, reference)) is None:
        raise UNKNOWN_MEMBERSHIP("There is no such membership on sale; GET /api/catalog lists them.")
    return item


def price_of(item: Item, interval: Interval) -> Money:
    """What each interval costs. Raises Problem 422 where it is not sold by that interval."""
    price = item.money if interval == "month" else item.annual
    if price is None or not price.amount:
        raise INTERVAL_NOT_OFFERED(f"This membership is not sold by the {interval}.")
    return price


def _tier(item: Item) -> str:
    return item.tier or item.slug


def _state(subscription: StripeMembership) -> State:
    return State(
        status=subscription.status,
        tier=subscription.tier,
        interval=subscription.interval,
        amount=subscription.amount,
        cancel_at_period_end=subscription.cancel_at_period_end,
        cancel_dated=subscription.cancel_dated,
        paused=subscription.paused,
        resumes_at=subscription.resumes_at,
        halted=subscription.halted,
        unpaid_period=subscription.unpaid_period,
        ended=subscription.ended,
    )


def _refusal(code: RefusalCode) -> Problem:
    return _REFUSALS[code]()
