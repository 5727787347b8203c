"""A refund that Stripe refused, or that failed later: the money is still the school's, and somebody has to act."""

from __future__ import annotations

from checkout.payments.domain import RefundRecord, RefundStatus
from checkout.payments.repository import read_payment
from contracts.checkout import RefundFailed
from kit.db.unit_of_work import UnitOfWork


async def publish_failed(uow: UnitOfWork, refund: RefundRecord, *, status: RefundStatus, code: str | None) -> None:
    """Publishes it once per refund, if `status` says that the money does not reach the payer. `code`: why."""
    if status not in ("failed", "canceled"):
        return
    payment = await read_payment(uow.db, refund.payment_id)
    event = RefundFailed(
        refund_id=refund.id,
        payment_id=refund.payment_id,
        purchase_id=refund.purchase_id,
        student_id=refund.student_id,
        amount=refund.money,
        code=(code or status)[:100],
        payer=payment.payer if payment else None,
    )
    await uow.publish(event, id=f"refund/{refund.id}/{event.type}", subject=str(refund.purchase_id))
