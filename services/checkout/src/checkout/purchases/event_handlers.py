"""Updates a purchase from its payment facts."""

from __future__ import annotations

from uuid import UUID

import structlog

from checkout.purchases import domain, funding_repository, plans, repository
from checkout.purchases.domain import Change, State
from checkout.purchases.jobs import enqueue_intent_expiry
from checkout.purchases.repository import PurchaseRow
from contracts.envelope import Envelope
from contracts.payments import PaymentEvent, PaymentSucceeded
from kit.db.unit_of_work import UnitOfWork
from ledger.policy import Policy
from ledger.purchase import Purchase

log = structlog.get_logger(__name__)


async def update_purchase(
    purchase_id: UUID, purchase: Purchase, policy: Policy, event: Envelope[PaymentEvent], uow: UnitOfWork
) -> PurchaseRow | None:
    """The purchase after the update, locked. None: it was not started here."""
    row = await repository.lock_purchase(uow.db, purchase_id)
    if row is None:
        return None
    state = await _update_state(row, purchase, policy, uow)
    changed = state is not row.state
    subscription_id = row.stripe_subscription_id or min(purchase.subscriptions, default=None)
    if subscription_id is not None and row.stripe_subscription_id is None:
        await repository.write_subscription(uow.db, purchase_id, subscription_id, at=uow.now)
        changed = True
    if row.payer == "sponsor":
        refs = [fact.refs for fact in purchase.facts]
        await funding_repository.update_funding(
            uow.db,
            purchase_id,
            state=state,
            payment_intent_id=min((r.payment_intent for r in refs if r.payment_intent), default=None),
            session_id=min((r.checkout_session for r in refs if r.checkout_session), default=None),
            paid_at=event.time if isinstance(event.data, PaymentSucceeded) and event.data in purchase.facts else None,
            at=uow.now,
        )
    if subscription_id and state in (State.WITHDRAWN, State.CANCELED, State.FAILED):
        await plans.enqueue_cancel(uow, purchase_id=purchase_id, subscription_id=subscription_id)
    elif row.payment_flow == "page" and row.installments and subscription_id and purchase.settled_payments:
        if row.state is State.WITHDRAWN:  # a refund has failed; a subscription that was canceled cannot be restarted
            log.error("plan stays canceled though its purchase is paid again", purchase=str(purchase_id))
        await plans.enqueue_end(
            uow, purchase_id=purchase_id, subscription_id=subscription_id, installments=row.installments
        )
    return await repository.read_row(uow.db, purchase_id) if changed else row


async def _update_state(row: PurchaseRow, purchase: Purchase, policy: Policy, uow: UnitOfWork) -> State:
    """Most events change nothing, and the row is locked: those cost no statement."""
    change = domain.change_of(purchase, policy, payment_flow=row.payment_flow)
    after = domain.next_state(row.state, change) if change is not None else None
    if change is None or after is None:
        return row.state
    if change is Change.PAYMENT_RETRYABLE:
        await enqueue_intent_expiry(uow, row.id, after=domain.failures(purchase, final=False))
    if after is row.state:
        return row.state
    return await repository.change_state(uow.db, row.id, change, at=uow.now)
