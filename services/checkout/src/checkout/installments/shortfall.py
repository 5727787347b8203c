"""The rest of a purchase that was paid in one payment, with less than its price: an intent for what is missing."""

from __future__ import annotations

from collections.abc import Sequence

from checkout.installments.payment_requests import CardForm
from checkout.installments.transitions import CLOSE
from checkout.payments.domain import PaymentRecord
from checkout.payments.repository import insert_payment, payments_of
from checkout.problems import INSTALLMENT_BUSY, SPONSOR_PAYS
from checkout.purchases import payment_methods
from checkout.purchases import repository as purchases
from checkout.purchases.context import (
    Buyer,
    CheckoutContext,
    not_payable,
    rejected_by_stripe,
    stripe_errors_as_problems,
)
from checkout.purchases.customers import Customers
from checkout.purchases.domain import State
from checkout.purchases.repository import PurchaseRow
from checkout.purchases.stripe_metadata import metadata
from checkout.purchases.update import PurchaseUpdate
from checkout.stripe_client import Intent, StripeRejected
from contracts.money import Money

_IN_ONE_PAYMENT = ("page", "intent", "external")
_UNPAID = ("requires_payment", "failed")
_OVER = (State.WITHDRAWN, State.CANCELED)


class ShortfallPayments:
    def __init__(self, context: CheckoutContext, customers: Customers, buyer: Buyer) -> None:
        self._context = context
        self._stripe = context.stripe
        self._customers = customers
        self._buyer = buyer

    async def card_form(self, purchase: PurchaseRow, shortfall: int) -> CardForm:
        """What the front end's card form pays. The same intent while nothing has changed. Raises Problem."""
        if purchase.payer == "sponsor":
            raise SPONSOR_PAYS()
        amount = Money(amount=shortfall, currency=purchase.currency)
        async with self._context.unit_of_work(self._buyer) as uow:
            records = await payments_of(uow.db, purchase.id)
        try:
            with stripe_errors_as_problems():
                intent = await self._open_intent(records, amount) or await self._create(purchase, amount, len(records))
        except StripeRejected:
            raise rejected_by_stripe() from None
        if intent.status in ("succeeded", "processing", "requires_capture"):
            raise await self._context.already_paid(intent.id, self._buyer)
        return CardForm(intent_id=intent.id, client_secret=intent.client_secret, amount=intent.amount, done=False)

    async def _open_intent(self, records: Sequence[PaymentRecord], amount: Money) -> Intent | None:
        for record in open_intents(records):
            if record.money == amount and record.stripe_payment_intent_id is not None:
                intent = await self._stripe.intent(record.stripe_payment_intent_id)
                if intent.status != "canceled":
                    return intent
        return None

    async def _create(self, purchase: PurchaseRow, amount: Money, number: int) -> Intent:
        """`number`: of the payments that exist, so that two requests at the same time have one intent."""
        methods = payment_methods.allowed(amount=amount, payer=purchase.payer, payment_type="full")
        if not methods:
            raise not_payable()
        customer_id = await self._customers.ensure(purchase.student_id, self._buyer)
        params: dict[str, object] = {
            "amount": amount.amount,
            "currency": amount.currency,
            "allowed_payment_method_types": methods,
            "description": purchase.program.title,
            "metadata": metadata(purchase.id, purchase.request),
            "customer": customer_id,
        }
        key = f"{purchase.id}/shortfall/{number}/{amount.amount}/{customer_id}"
        intent = await self._stripe.create_intent(params, key=key)
        async with self._context.unit_of_work(self._buyer) as uow:
            current = await purchases.lock_purchase(uow.db, purchase.id)
            is_owed = current is not None and current.shortfall == amount.amount
            if is_owed:
                refs = [intent.id]
                await insert_payment(
                    uow.db, purchase.id, purchase.request, refs=refs, intent_id=intent.id, amount=amount, at=uow.now
                )
        if not is_owed:
            await self._stripe.cancel_intent(intent.id, key=f"{intent.id}/cancel")
            raise INSTALLMENT_BUSY("What is missing has changed meanwhile; try again.")
        return intent


def open_intents(records: Sequence[PaymentRecord]) -> list[PaymentRecord]:
    return [each for each in records if each.status in _UNPAID and each.stripe_payment_intent_id is not None]


async def close_outdated(updates: Sequence[PurchaseUpdate]) -> None:
    """Ends the intents for a shortfall that is not owed any more: it was paid, accepted, or the purchase has ended."""
    by_id = {each.row.id: each for each in updates if _may_be_outdated(each)}
    if not by_id:
        return
    for record in open_intents(await payments_of(updates[0].uow.db, *by_id)):
        uow, row = by_id[record.purchase_id].uow, by_id[record.purchase_id].row
        if record.amount != row.shortfall or row.state in _OVER:
            payload = {"purchase_id": str(row.id), "what": "intent", "id": record.stripe_payment_intent_id}
            await uow.enqueue(CLOSE, key=str(record.stripe_payment_intent_id), payload=payload)


def _may_be_outdated(update: PurchaseUpdate) -> bool:
    """Whether the purchase may have had a shortfall, and has changed since."""
    row, received = update.row, update.purchase.settled_payments
    if row.payment_flow not in _IN_ONE_PAYMENT or not received:
        return False
    return row.state in _OVER or bool(row.accepted) or len(received) > 1
