"""What happens to a purchase's money, and to the seat that it bought, becomes its state."""

from __future__ import annotations

from typing import cast
from uuid import UUID

import structlog

from checkout import db as store
from checkout import domain, plans
from checkout.domain import State
from checkout.topology import ENROLLMENTS, PAYMENTS
from contracts import facts
from contracts.enrollment import (
    EnrollmentActivated,
    EnrollmentCompleted,
    EnrollmentEvent,
    EnrollmentPaused,
    EnrollmentPending,
    EnrollmentResumed,
    EnrollmentWithdrawn,
)
from contracts.envelope import Envelope
from contracts.facts import DEFAULT_POLICY, Facts, Policy, fold, keys
from contracts.payments import PaymentEvent, PaymentSucceeded
from contracts.registry import PAYMENT_EVENTS
from kit.consumer import Consumer
from kit.work import Work

log = structlog.get_logger(__name__)

SEAT_STATUS: dict[type[EnrollmentEvent], domain.SeatStatus] = {
    EnrollmentPending: "pending",
    EnrollmentActivated: "active",
    EnrollmentPaused: "paused",
    EnrollmentResumed: "active",
    EnrollmentWithdrawn: "withdrawn",
    EnrollmentCompleted: "completed",
}


def payments(policy: Policy = DEFAULT_POLICY) -> Consumer:
    consumer = Consumer(PAYMENTS)

    @consumer.on(*PAYMENT_EVENTS)
    async def settle(heard: Envelope[PaymentEvent], work: Work) -> None:
        known = cast(Facts, await work.merge(heard, keys(heard.data)))
        await store.act_as(work.db, f"event:{heard.id}")
        for purchase in fold(known):
            if purchase.id is not None:
                await _settle_purchase(purchase.id, purchase, policy, heard, work)

    return consumer


async def _settle_purchase(
    purchase_id: UUID, purchase: facts.Purchase, policy: Policy, heard: Envelope[PaymentEvent], work: Work
) -> None:
    """Follows the facts; a purchase that was not started here is none of ours."""
    row = await store.lock_purchase(work.db, purchase_id)
    if row is None:
        return
    state = domain.state_of(purchase, policy) or State(row.state)
    subscription_id = row.stripe_subscription_id or min(purchase.subscriptions, default=None)
    if state != row.state or subscription_id != row.stripe_subscription_id:
        await store.settle_purchase(work.db, purchase_id, state=state, subscription_id=subscription_id, at=work.now)
    if row.payer == "sponsor":
        refs = [fact.refs for fact in purchase.facts]
        await store.settle_funding(
            work.db,
            purchase_id,
            state=state,
            payment_intent_id=min((r.payment_intent for r in refs if r.payment_intent), default=None),
            session_id=min((r.checkout_session for r in refs if r.checkout_session), default=None),
            paid_at=heard.time if isinstance(heard.data, PaymentSucceeded) and heard.data in purchase.facts else None,
            at=work.now,
        )
    if subscription_id and state is State.WITHDRAWN:
        await plans.want_cancel(work, purchase_id=purchase_id, subscription_id=subscription_id)
    elif row.instalments and subscription_id and purchase.settled_payments:
        if row.state == State.WITHDRAWN:  # a refund failed after all; Stripe brings no subscription back, nor do we
            log.error("plan stays cancelled, though its purchase is paid again", purchase=str(purchase_id))
        await plans.want_end(
            work, purchase_id=purchase_id, subscription_id=subscription_id, instalments=row.instalments
        )


def enrollments() -> Consumer:
    consumer = Consumer(ENROLLMENTS)

    @consumer.on(*SEAT_STATUS)
    async def note(heard: Envelope[EnrollmentEvent], work: Work) -> None:
        status = SEAT_STATUS[type(heard.data)]
        await store.write_seat(work.db, heard.data, status=status, at=work.now)

    return consumer
