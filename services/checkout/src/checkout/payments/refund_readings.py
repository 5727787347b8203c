"""What has to be read at Stripe before a refund is decided. No transaction is open meanwhile."""

from __future__ import annotations

from collections.abc import Iterable

from checkout.payments.domain import PaymentRecord
from checkout.payments.problems import REFUNDABLE_AT_STRIPE
from checkout.payments.refund_service import refused
from checkout.purchases.context import Buyer, CheckoutContext, rejected_by_stripe, stripe_errors_as_problems
from checkout.purchases.repository import PurchaseRow, read_row
from checkout.stripe_client import StripeRejected


async def require_stripe_payments(context: CheckoutContext, payments: Iterable[PaymentRecord]) -> None:
    """Raises Problem 409 for an invoice that was marked as paid outside Stripe: nothing at Stripe can be refunded."""
    for payment in payments:
        if payment.status != "succeeded" or payment.refunded >= payment.amount or payment.manual_id:
            continue
        if not await _has_stripe_payment(context, payment):
            left = payment.amount - payment.refunded
            raise refused("refund_channel_unknown", left=left, currency=payment.currency)


async def _has_stripe_payment(context: CheckoutContext, payment: PaymentRecord) -> bool:
    if payment.stripe_payment_intent_id or payment.stripe_charge_id:
        return True
    if payment.stripe_invoice_id is None:
        return False
    try:
        with stripe_errors_as_problems():
            return await context.stripe.intent_of_invoice(payment.stripe_invoice_id) is not None
    except StripeRejected:
        return False


async def readings_for_admin(
    context: CheckoutContext, buyer: Buyer, payment: PaymentRecord, *, amount: int | None, by_hand: bool
) -> int:
    """The credit to deduct, which is read only if everything left is refunded. Raises Problem 409 if the payment
    cannot be refunded where it should be."""
    if by_hand and await _has_stripe_payment(context, payment):
        raise REFUNDABLE_AT_STRIPE()
    if not by_hand:
        await require_stripe_payments(context, [payment])
    if amount is not None:
        return 0
    async with context.unit_of_work(buyer) as uow:
        purchase = await read_row(uow.db, payment.purchase_id)
    return 0 if purchase is None else await credit_granted(context, purchase)


async def credit_granted(context: CheckoutContext, purchase: PurchaseRow) -> int:
    """Minor units that the purchase's subscription has added to the credit balance, and not taken from it again.

    Not what is left of the balance: a student may have spent the credit on another purchase by now.
    """
    if purchase.stripe_subscription_id is None:
        return 0
    try:
        with stripe_errors_as_problems():
            return max(await context.stripe.credit_of_subscription(purchase.stripe_subscription_id), 0)
    except StripeRejected:
        raise rejected_by_stripe() from None


async def end_membership(context: CheckoutContext, purchase: PurchaseRow) -> None:
    """Cancels the membership's subscription at Stripe before its credit is read: afterward, nobody can add to it.

    (Pending prorations are removed with it: Stripe SDK 16.1, Subscription.cancel.)
    """
    subscription_id = purchase.stripe_subscription_id
    if purchase.payment_flow != "membership" or subscription_id is None:
        return
    try:
        with stripe_errors_as_problems():
            if not (await context.stripe.membership(subscription_id)).ended:
                await context.stripe.end_membership(subscription_id, key=f"{purchase.id}/refund/cancel")
    except StripeRejected:
        with stripe_errors_as_problems():  # a concurrent request may have canceled it
            if not (await context.stripe.membership(subscription_id)).ended:
                raise rejected_by_stripe() from None
