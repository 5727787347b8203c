"""The row of a purchase that is gone, as its payment events describe it.

What no event says is not there again: the plan, the co-pay, the promotion code, the accepted terms, and who
has recorded it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.catalog import repository as catalog
from checkout.catalog.item import Item
from checkout.purchases import repository
from checkout.purchases.domain import Interval, PaymentFlowName, PurchaseRequest
from checkout.purchases.tables import purchases
from contracts.money import Money
from contracts.people import enrollment_uuid
from kit.db.unit_of_work import UnitOfWork
from ledger.payment import EARLIEST
from ledger.purchase import Purchase

log = structlog.get_logger(__name__)

ACTOR = "verify"
"""Who has recorded a restored purchase that was not started here: no later event changes its student and item."""
NOT_NAMED = "its events do not say who has bought what: restore it from a backup"


def description(purchase: Purchase) -> Mapping[str, Any] | None:
    """What its row says at least. None: its events do not say who has bought what, or for how much."""
    amount = _amount(purchase)
    if purchase.student_id is None or purchase.program is None or amount is None:
        return None
    return {
        "student_id": purchase.student_id,
        "program_slug": purchase.program.slug,
        "payer": purchase.payer,
        "amount": amount.amount,
        "currency": amount.currency,
        "payment_flow": _payment_flow(purchase),
    }


async def restore(uow: UnitOfWork, purchase: Purchase) -> None:
    """Adds the row. Its state follows from its payments. Does nothing if they do not say who has bought what."""
    request = await _request(uow.db, purchase)
    if purchase.id is None or request is None:
        return
    await repository.insert_external(uow.db, purchase.id, request, by=ACTOR, at=uow.now)
    row = update(purchases).where(purchases.c.id == purchase.id)
    await uow.db.execute(row.values(**_columns(purchase, request)))
    log.warning("deleted purchase restored", purchase=str(purchase.id))


async def _request(db: AsyncConnection, purchase: Purchase) -> PurchaseRequest | None:
    student_id, program, amount = purchase.student_id, purchase.program, _amount(purchase)
    if student_id is None or program is None or amount is None:
        return None
    item: Item | None = None
    for reference in (program.slug, program.id):
        item = item or await catalog.find_any_item(db, reference)
    flow, is_plan = _payment_flow(purchase), purchase.is_plan
    interval: Interval | None = None
    if flow == "membership":
        annual = item.annual if item is not None else None
        interval = "year" if annual is not None and amount.amount >= annual.amount else "month"
    tiers = (getattr(fact, "tier", None) for fact in purchase.facts)
    return PurchaseRequest(
        student_id=student_id,
        program=program if item is None or flow != "external" else item.as_program(),
        amount=amount,
        item_id=None if item is None else item.id,
        owner_id=None if item is None else item.owner_id,
        payer=purchase.payer,
        funding_source=purchase.funding_source,
        payment_type="plan" if is_plan else "full",
        installments=purchase.installments,
        payment_flow=flow,
        tier=max((tier for tier in tiers if tier), default=None) if flow == "membership" else None,
        interval=interval,
    )


def _payment_flow(purchase: Purchase) -> PaymentFlowName:
    if purchase.program is not None and purchase.program.kind == "membership":
        return "membership"
    if purchase.is_external:
        return "external"
    refs = [fact.refs for fact in purchase.facts]
    if any(each.checkout_session for each in refs):
        return "page"
    return "installments" if any(each.installment for each in refs) else "intent"


def _amount(purchase: Purchase) -> Money | None:
    """Of a membership, a period's."""
    settled = [payment.settled for payment in purchase.settled_payments if payment.settled is not None]
    return purchase.price or purchase.due or max(settled, key=lambda money: money.amount, default=None)


def _columns(purchase: Purchase, request: PurchaseRequest) -> dict[str, Any]:  # Any: the values of columns
    refs = [fact.refs for fact in purchase.facts]
    sessions = [each.checkout_session for each in refs if each.checkout_session]
    intents = [each.payment_intent for each in refs if each.payment_intent]
    student_id: UUID = request.student_id
    values: dict[str, Any] = {
        "recorded_by": ACTOR if purchase.is_external else None,
        "stripe_checkout_session_id": min(sessions, default=None) if request.payment_flow != "external" else None,
        "stripe_payment_intent_id": min(intents, default=None) if request.payment_flow == "intent" else None,
        "stripe_subscription_id": min(purchase.subscriptions, default=None),
    }
    if request.payment_type == "plan":
        values["enrollment_id"] = enrollment_uuid(student_id, request.covers[0])
    times = [fact.as_of for fact in purchase.facts if fact.as_of and fact.as_of > EARLIEST]
    if times:
        values["created_at"] = min(times)
    return values
