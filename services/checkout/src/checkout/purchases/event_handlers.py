"""A purchase follows what is known of its money."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Row

from checkout.purchases import domain, plans, repository
from checkout.purchases.domain import State
from checkout.purchases.jobs import want_intent_expiry
from contracts.envelope import Envelope
from contracts.payments import PaymentEvent, PaymentSucceeded
from kit.db.unit_of_work import UnitOfWork
from ledger.policy import Policy
from ledger.purchase import Purchase

log = structlog.get_logger(__name__)


async def settle(
    purchase_id: UUID, purchase: Purchase, policy: Policy, heard: Envelope[PaymentEvent], uow: UnitOfWork
) -> Row[Any] | None:
    """The purchase as it is then, locked. None: it was not started here, and is none of ours."""
    row = await repository.lock_purchase(uow.db, purchase_id)
    if row is None:
        return None
    state = domain.state_of(purchase, policy, how=row.how) or State(row.state)
    if state is State.AWAITING_PAYMENT:
        if State(row.state) in (State.CREATED, State.AWAITING_PAYMENT, State.PROCESSING):
            await want_intent_expiry(uow, purchase_id, after=domain.failures(purchase, final=False))
        else:  # closed, or decided by other facts; what is late opens nothing again
            state = State(row.state)
    subscription_id = row.stripe_subscription_id or min(purchase.subscriptions, default=None)
    changed = state != row.state or subscription_id != row.stripe_subscription_id
    if changed:
        await repository.settle_purchase(uow.db, purchase_id, state=state, subscription_id=subscription_id, at=uow.now)
    if row.payer == "sponsor":
        refs = [fact.refs for fact in purchase.facts]
        await repository.settle_funding(
            uow.db,
            purchase_id,
            state=state,
            payment_intent_id=min((r.payment_intent for r in refs if r.payment_intent), default=None),
            session_id=min((r.checkout_session for r in refs if r.checkout_session), default=None),
            paid_at=heard.time if isinstance(heard.data, PaymentSucceeded) and heard.data in purchase.facts else None,
            at=uow.now,
        )
    if subscription_id and state in (State.WITHDRAWN, State.CANCELED, State.FAILED):
        await plans.want_cancel(uow, purchase_id=purchase_id, subscription_id=subscription_id)
    elif row.how == "page" and row.installments and subscription_id and purchase.settled_payments:
        if row.state == State.WITHDRAWN:  # a refund failed after all; Stripe brings no subscription back, nor do we
            log.error("plan stays canceled, though its purchase is paid again", purchase=str(purchase_id))
        await plans.want_end(
            uow, purchase_id=purchase_id, subscription_id=subscription_id, installments=row.installments
        )
    return await repository.read_row(uow.db, purchase_id) if changed else row
