"""Ends of purchases: by a student or the school as part of a request, and by a lost dispute when its event arrives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from uuid import UUID

import structlog

from checkout.payments import repository
from checkout.purchases.event_fields import purchase_fields
from checkout.purchases.repository import PurchaseRow, cancel_purchase
from checkout.purchases.update import PurchaseUpdate, logged
from contracts.money import Money
from contracts.payments import EndedBy, PaymentRefs, PurchaseAccepted, PurchaseEnded
from kit.db.unit_of_work import UnitOfWork
from ledger.payment import LOST_DISPUTES
from ledger.policy import Policy
from ledger.purchase import Purchase

log = structlog.get_logger(__name__)

REFUNDED = "refunded"
"""The reason of an end that pays everything back."""


async def end_purchase(
    uow: UnitOfWork, purchase: PurchaseRow, *, by: Literal["student", "school"], reason: str
) -> bool:
    """Ends the purchase for good, in the caller's transaction, which has locked it. False: it had ended before.

    What is still to be charged is stopped by those who hear of it: installments, and the subscription at Stripe. A
    payment that has not succeeded by now is late, and is sent back.
    """
    records = await repository.payments_of(uow.db, purchase.id)
    counted = sorted({ref for each in records if each.status == "succeeded" for ref in each.refs})
    added = await repository.add_end(
        uow.db, purchase.id, purchase.student_id, by=by, reason=reason, counted=counted, at=uow.now
    )
    if not added:
        return False
    await cancel_purchase(uow.db, purchase.id, reason=reason, at=uow.now)
    await _publish(uow, purchase, by=by, reason=reason, cause=str(purchase.id))
    return True


async def end_on_lost_disputes(updates: Sequence[PurchaseUpdate], *, policy: Policy) -> None:
    """Publishes once per dispute that a lost dispute has ended its purchase. It counts while the dispute is lost."""
    for each in updates:
        with logged(each.events):
            await _end_on_lost_dispute(each.uow, each.row, each.purchase, policy=policy)


async def _end_on_lost_dispute(uow: UnitOfWork, row: PurchaseRow, purchase: Purchase, *, policy: Policy) -> None:
    if row.co_pay is not None:  # the other share may have been paid before, and its event arrive later
        return
    if purchase.ended is not None or purchase.loss(policy) != "dispute_lost":
        return
    statuses = [each for payment in purchase.payments for each in payment.disputes.items()]
    dispute_id = min((id for id, status in statuses if status in LOST_DISPUTES), default=None)
    if dispute_id is not None:
        await _publish(uow, row, by="dispute", reason="dispute_lost", cause=f"{row.id}/{dispute_id}")


async def accept_nothing(uow: UnitOfWork, purchase: PurchaseRow, *, refund_id: UUID) -> None:
    """An admin has refunded everything and keeps the enrollment: nothing of the price is owed."""
    amount = Money(amount=purchase.amount, currency=purchase.currency)
    event = PurchaseAccepted(**purchase_fields(purchase), refs=PaymentRefs(), amount=amount, as_of=uow.now)
    await uow.publish(event, id=f"refund/{refund_id}/{event.type}", subject=str(purchase.id))


async def _publish(uow: UnitOfWork, purchase: PurchaseRow, *, by: EndedBy, reason: str, cause: str) -> None:
    event = PurchaseEnded(**purchase_fields(purchase), refs=PaymentRefs(), by=by, reason=reason, as_of=uow.now)
    await uow.publish(event, id=f"{cause}/{event.type}", subject=str(purchase.id))
    log.info("purchase ended", purchase=str(purchase.id), by=by)
