"""Updates purchases from their payment facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog

from checkout.purchases import domain, funding_repository, repository, subscriptions
from checkout.purchases.domain import Change, State
from checkout.purchases.jobs import enqueue_intent_expiry
from checkout.purchases.repository import PurchaseRow
from checkout.purchases.update import PurchaseUpdate
from contracts.envelope import Envelope
from contracts.payments import PaymentEvent, PaymentSucceeded, PurchaseAccepted
from kit.db.unit_of_work import UnitOfWork
from ledger.payment import EARLIEST, Payment
from ledger.policy import Policy
from ledger.purchase import UNDERPAID, Purchase

log = structlog.get_logger(__name__)


async def update_purchases(updates: Sequence[PurchaseUpdate], policy: Policy) -> list[PurchaseUpdate]:
    """The same with their rows after the update. Most events change nothing: those cost no statement."""
    updated = [replace(each, row=await _updated(each, policy)) for each in updates]
    changed = [after.row for before, after in zip(updates, updated, strict=True) if after.row != before.row]
    if changed:
        await repository.write_standings(updates[0].uow.db, changed, at=updates[0].uow.now)
    return updated


async def _updated(update: PurchaseUpdate, policy: Policy) -> PurchaseRow:
    """Its row is written by the caller."""
    uow, row, purchase = update.uow, update.row, update.purchase
    if row.payer == "sponsor" and uow.cause is not None:  # whose rows have an audit trail
        await repository.set_actor(uow.db, f"event:{uow.cause.id}")
    state = await _update_state(row, purchase, policy, uow)
    subscription_id = row.stripe_subscription_id or min(purchase.subscriptions, default=None)
    if row.payer == "sponsor":
        own = [payment for payment in purchase.payments if payment.payer_of(row.payer) == "sponsor"]
        refs = [fact.refs for payment in own for fact in payment.facts]
        await funding_repository.update_funding(
            uow.db,
            row.id,
            state=_of_sponsor(row, state, purchase, own),
            received=any(payment.settled for payment in own),
            payment_intent_id=min((r.payment_intent for r in refs if r.payment_intent), default=None),
            session_id=min((r.checkout_session for r in refs if r.checkout_session), default=None),
            invoice_id=min((r.invoice for r in refs if r.invoice), default=None),
            paid_at=_paid_at(own, update.events),
            at=uow.now,
        )
    if subscription_id and state in (State.WITHDRAWN, State.CANCELED, State.FAILED):
        await subscriptions.enqueue_cancel(uow, purchase_id=row.id, subscription_id=subscription_id)
    return replace(row, state=state, stripe_subscription_id=subscription_id, **standing(row, purchase, policy))


def _of_sponsor(row: PurchaseRow, state: State, purchase: Purchase, own: Sequence[Payment]) -> State:
    """The state of what the sponsor pays: paid as soon as its share is, and owed again if a dispute took it back while
    the purchase goes on with the student's co-pay. `own`: the sponsor's payments."""
    if row.co_pay is None or state not in (State.PROCESSING, State.PAID):
        return state
    if any(due.payer_of(row.payer) == "sponsor" for due in purchase.past_due):
        return State.AWAITING_PAYMENT
    received = sum(payment.value - payment.lost_amount for payment in own if payment.settled)
    return State.PAID if received >= row.amount - row.co_pay else state


def _paid_at(payments: Sequence[Payment], events: Sequence[Envelope[PaymentEvent]]) -> datetime | None:
    """When the first payment was received, as Stripe states it; else when the first new success happened."""
    settled = [payment for payment in payments if payment.settled is not None]
    times = [payment.received_at for payment in settled if payment.received_at > EARLIEST]
    if times:
        return min(times)
    facts = [fact for payment in settled for fact in payment.facts]
    succeeded = (each for each in events if isinstance(each.data, PaymentSucceeded) and each.data in facts)
    return min((each.time for each in succeeded), default=None)


def standing(row: PurchaseRow, purchase: Purchase, policy: Policy) -> dict[str, Any]:
    """The columns that say why the purchase is not simply paid, and what Stripe will collect."""
    _, reason = purchase.standing(policy)
    shortfall = purchase.shortfall if reason == UNDERPAID else None
    external = purchase.subscription if row.payment_flow == "external" else None
    goes_on = external is not None and external.status in ("active", "trialing", "past_due")
    return {
        "state_reason": reason,
        "shortfall": None if shortfall is None else shortfall.amount,
        "accepted": max((f.amount.amount for f in purchase.facts if isinstance(f, PurchaseAccepted)), default=0),
        "subscription_status": None if external is None else external.status,
        "next_charge_at": external.current_period_end if external is not None and goes_on else None,
    }


async def _update_state(row: PurchaseRow, purchase: Purchase, policy: Policy, uow: UnitOfWork) -> State:
    """Its state by now, which the caller writes."""
    change = domain.change_of(purchase, policy, payment_flow=row.payment_flow)
    after = domain.next_state(row.state, change) if change is not None else None
    if change is None or after is None:
        return row.state
    if change is Change.PAYMENT_RETRYABLE and row.payment_flow == "intent":
        await enqueue_intent_expiry(uow, row.id, after=domain.failures(purchase, final=False))
    if after is not row.state:
        code = row.promotion_code
        await repository.follow_state(
            uow.db, row.id, change, before=row.state, after=after, promotion_code=code, at=uow.now
        )
    return after
