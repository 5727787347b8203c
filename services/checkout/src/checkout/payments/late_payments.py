"""Money that arrives after its purchase had ended: it opens nothing, so it is sent back, or listed for an admin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from uuid import uuid5

import structlog

from checkout.payments import refund_service, repository
from checkout.payments.domain import NOT_MONEY, PaymentRecord
from checkout.purchases.repository import PurchaseRow
from checkout.purchases.update import PurchaseUpdate, logged
from contracts.checkout import PaymentUnmatched
from contracts.payments import PaymentRefs
from kit.db.unit_of_work import UnitOfWork
from kit.http.problems import Problem
from ledger.loss import lost_by
from ledger.payment import EARLIEST, LATEST, Payment
from ledger.policy import Policy
from ledger.purchase import Purchase

log = structlog.get_logger(__name__)

LatePayments = Literal["refund", "review"]
"""What is done about them: sent back automatically, or left to an admin."""


async def return_late_payments(
    updates: Sequence[PurchaseUpdate], *, policy: Policy, late_payments: LatePayments
) -> None:
    """Marks them, publishes each once, and refunds them if the setting says so."""
    for each in updates:
        with logged(each.events):
            await _return_late(each.uow, each.row, each.purchase, policy=policy, late_payments=late_payments)


async def _return_late(
    uow: UnitOfWork, row: PurchaseRow, purchase: Purchase, *, policy: Policy, late_payments: LatePayments
) -> None:
    if not purchase.settled_payments:
        return
    counted = None if row.canceled_at is None else await repository.counted_at_end(uow.db, row.id)
    if counted is None and purchase.ended is None and purchase.loss(policy) is None:
        return
    late = [each for each in purchase.settled_payments if _is_late(each, purchase, counted, policy)]
    if not late:
        return
    refs = frozenset().union(*(payment.refs for payment in late))
    for record in await repository.lock_payments_of(uow.db, row.id):
        if record.status == "succeeded" and record.amount and record.method not in NOT_MONEY and refs & {*record.refs}:
            await _return(uow, record, late_payments)


def _is_late(payment: Payment, purchase: Purchase, counted: frozenset[str] | None, policy: Policy) -> bool:
    """After an end by a student or the school: what was not counted then. After a loss of everything: what was received
    later."""
    if not payment.net:
        return False
    if counted is not None:
        return not payment.refs & counted
    if purchase.ended is not None and purchase.ended.by != "dispute":
        return payment.received_at > (purchase.ended.as_of or LATEST)
    before = [
        Payment(facts)
        for other in purchase.settled_payments
        if other is not payment and other.received_at < payment.received_at
        if (facts := tuple(fact for fact in other.facts if (fact.as_of or EARLIEST) <= payment.received_at))
    ]
    renews = purchase.program is not None and purchase.program.kind == "membership"
    return lost_by(before, policy, in_installments=purchase.is_plan, renews=renews) is not None


async def _return(uow: UnitOfWork, payment: PaymentRecord, late_payments: LatePayments) -> None:
    left = (await refund_service.refundable_payment(uow, payment)).left
    if not left:
        return
    if await repository.mark_late(uow.db, payment.id, at=uow.now):
        event = PaymentUnmatched(
            refs=PaymentRefs(
                payment_intent=payment.stripe_payment_intent_id,
                charge=payment.stripe_charge_id,
                invoice=payment.stripe_invoice_id,
                manual=payment.manual_id,
            ),
            amount=payment.money.model_copy(update={"amount": left}),
            code="after_end",
        )
        await uow.publish(event, id=f"{payment.id}/after_end/{event.type}", subject=str(payment.purchase_id))
    if late_payments == "review" or payment.refund_channel != "stripe":  # nobody hands out cash automatically
        log.warning("late payment awaits review", payment=str(payment.id))
        return
    reason = "It arrived after the purchase had ended."
    once = uuid5(payment.id, "late")  # if Stripe refuses it, an admin decides
    try:
        await refund_service.refund(uow, payment.id, None, reason=reason, origin="late", by="system", id=once)
    except Problem as problem:
        log.error("late payment could not be refunded", payment=str(payment.id), code=problem.code)
