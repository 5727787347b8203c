"""Intents and invoices for an installment: at most one at a time, and stored before anyone can pay it.

Three steps, as for a purchase: the installment is read, Stripe is asked under an idempotency key that belongs to the
installment, and the answer is stored if the installment has not changed. Only stored intents and invoices are handed
out, charged or sent; the others are canceled.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import UUID

from checkout.installments import repository
from checkout.installments.domain import PAYABLE, Installment
from checkout.installments.transitions import pay_page
from checkout.payments.repository import insert_payment
from checkout.purchases import payment_methods
from checkout.purchases.domain import PurchaseRequest
from checkout.purchases.repository import PurchaseRow
from checkout.purchases.stripe_metadata import metadata
from checkout.stripe_client import Intent, SentInvoice, Stripe
from contracts.money import Money
from kit.db.unit_of_work import UnitOfWork
from kit.runtime.failures import Transient

BeginUnitOfWork = Callable[[], AbstractAsyncContextManager[UnitOfWork]]

INVOICE_DAYS = 7
"""Days until an invoice is due: as long as reminders are sent."""
_ROUNDS = 5
_FINAL = ("succeeded", "processing", "canceled", "requires_capture")


class NotDue(Exception):
    """The installment cannot be paid: it is paid, closed, or a payment is processing."""


class PaymentRequests:
    def __init__(self, stripe: Stripe, begin: BeginUnitOfWork) -> None:
        self._stripe = stripe
        self._begin = begin

    async def intent(self, id: UUID, customer_id: str | None) -> Intent:
        """The installment's intent in its current state, which may also be succeeded or processing.

        Raises NotDue, and StripeUnavailable or StripeRejected.
        """
        for _ in range(_ROUNDS):
            purchase, installment = await self._payable(id)
            if installment.stripe_invoice_id is not None and not await self.end(installment):
                raise NotDue
            if installment.stripe_payment_intent_id is not None:
                intent = await self._stripe.intent(installment.stripe_payment_intent_id)
                if intent.status != "canceled":
                    return intent
                await self._forget(installment)
                continue
            number = installment.asked + 1
            params = _intent_params(purchase, installment, customer_id)
            key = f"{installment.id}/{installment.round}/intent/{number}"
            made = await self._stripe.create_intent(params, key=key)
            if await self._store(installment, number, intent_id=made.id, client_secret=made.client_secret):
                return made
            await self._stripe.cancel_intent(made.id, key=f"{made.id}/cancel")
            await self._skip_key(id, number)
        raise Transient("the installment keeps changing")

    async def invoice(self, id: UUID, customer_id: str) -> SentInvoice:
        """The installment's invoice, sent. Raises NotDue, and StripeUnavailable or StripeRejected."""
        for _ in range(_ROUNDS):
            purchase, installment = await self._payable(id)
            if installment.stripe_payment_intent_id is not None and not await self.end(installment):
                raise NotDue
            if installment.stripe_invoice_id is not None:
                key = f"{installment.id}/{installment.round}/invoice/{installment.asked}"
                sent = await self._stripe.send_invoice(installment.stripe_invoice_id, key=key)
                if sent.status != "void":
                    return sent
                await self._forget(installment)
                continue
            number = installment.asked + 1
            draft = await self._stripe.draft_invoice(
                customer_id=customer_id,
                amount=installment.money,
                description=purchase.program.title,
                days_until_due=INVOICE_DAYS,
                metadata=metadata(purchase.id, purchase.request, installment=installment.reference),
                key=f"{installment.id}/{installment.round}/invoice/{number}",
            )
            if not await self._store(installment, number, invoice_id=draft.id):
                await self._stripe.end_invoice(draft.id, key=draft.id)
                await self._skip_key(id, number)
        raise Transient("the installment keeps changing")

    async def end(self, installment: Installment) -> bool:
        """Cancels the installment's intent or invoice. False if it has been paid, or a payment is processing."""
        if (intent_id := installment.stripe_payment_intent_id) is not None:
            intent = await self._stripe.cancel_intent(intent_id, key=f"{intent_id}/end")
            if intent.status != "canceled":
                return False
        if (invoice_id := installment.stripe_invoice_id) is not None:
            invoice = await self._stripe.end_invoice(invoice_id, key=f"{invoice_id}/end")
            if invoice.status != "void":
                return False
        await self._forget(installment)
        return True

    async def _payable(self, id: UUID) -> tuple[PurchaseRow, Installment]:
        """The purchase and the installment, after ending every other request by which the same money could be paid."""
        async with self._begin() as uow:
            found = await repository.lock(uow.db, id)
            rivals = await _rivals(uow, found[1]) if found is not None else []
            outdated = found is not None and await _is_outdated(uow, *found)
        if found is None or not found[1].is_payable or outdated:
            raise NotDue
        for rival in rivals:
            if rival.status == "processing" or not await self.end(rival):
                raise NotDue
            if rival.is_remainder:
                await self._drop(rival)
        return found

    async def _drop(self, remainder: Installment) -> None:
        """Closes a remainder that nobody is paying. If it is requested meanwhile, that shows before ours is stored."""
        async with self._begin() as uow:
            found = await repository.lock(uow.db, remainder.id)
            if found is not None and found[1].is_payable and not found[1].is_requested:
                await repository.write(uow.db, remainder.id, at=uow.now, status="canceled", closed_because="covered")

    async def _store(
        self,
        before: Installment,
        number: int,
        *,
        intent_id: str | None = None,
        client_secret: str | None = None,
        invoice_id: str | None = None,
    ) -> bool:
        """Stores the intent or the invoice. False if the installment has changed and has no use for it."""
        async with self._begin() as uow:
            found = await repository.lock(uow.db, before.id)
            if found is None:
                return False
            purchase, now = found
            if intent_id is not None and now.stripe_payment_intent_id == intent_id:
                return True  # stored by another request with the same key
            if invoice_id is not None and now.stripe_invoice_id == invoice_id:
                return True
            if not now.is_payable or (now.asked, now.round, now.amount) != (before.asked, before.round, before.amount):
                return False
            if any(rival.is_requested for rival in await _rivals(uow, now)):
                return False
            if await _is_outdated(uow, purchase, now):
                return False
            changes: repository.InstallmentChanges
            if intent_id is not None:
                changes = {"asked": number, "stripe_payment_intent_id": intent_id, "client_secret": client_secret}
            else:
                changes = {"asked": number, "stripe_invoice_id": invoice_id}
            await repository.write(uow.db, now.id, at=uow.now, **changes)
            await insert_payment(
                uow.db,
                purchase.id,
                purchase.request,
                refs=[ref for ref in (intent_id, invoice_id) if ref is not None],
                intent_id=intent_id,
                amount=now.money,
                installment=now.reference,
                at=uow.now,
            )
            return True

    async def _skip_key(self, id: UUID, number: int) -> None:
        """The request of this number was canceled, and Stripe would return it again for the same idempotency key."""
        async with self._begin() as uow:
            found = await repository.lock(uow.db, id)
            if found is not None and found[1].asked < number:
                await repository.write(uow.db, id, at=uow.now, asked=number)

    async def _forget(self, installment: Installment) -> None:
        async with self._begin() as uow:
            found = await repository.lock(uow.db, installment.id)
            if found is None:
                return
            purchase, now = found
            same = (installment.stripe_payment_intent_id, installment.stripe_invoice_id)
            if (now.stripe_payment_intent_id, now.stripe_invoice_id) == same:
                await repository.write(
                    uow.db,
                    installment.id,
                    at=uow.now,
                    stripe_payment_intent_id=None,
                    stripe_invoice_id=None,
                    client_secret=None,
                    pay_url=pay_page(purchase, now),
                )


async def _rivals(uow: UnitOfWork, installment: Installment) -> list[Installment]:
    """Other installments by which the same money could be paid: the remainder, or one that it stands for."""
    others = await repository.of_purchase(uow.db, installment.purchase_id)
    rivals = [each for each in others if each.is_remainder != installment.is_remainder]
    open_rivals = [each for each in rivals if each.status in (*PAYABLE, "processing")]
    return [each for each in open_rivals if each.is_requested or each.is_remainder]


async def _is_outdated(uow: UnitOfWork, purchase: PurchaseRow, installment: Installment) -> bool:
    """Whether some of the remainder was paid since it was computed. (After a plan on Stripe's page, events keep it
    up to date.)"""
    if not installment.is_remainder or purchase.payment_flow == "page":
        return False
    parts = [each for each in await repository.of_purchase(uow.db, purchase.id) if not each.is_remainder]
    if any(each.status == "processing" for each in parts):
        return True
    return sum(each.amount for each in parts if each.is_payable) != installment.amount


def is_final(intent: Intent) -> bool:
    return intent.status in _FINAL


def _intent_params(purchase: PurchaseRow, installment: Installment, customer_id: str | None) -> dict[str, Any]:
    request, last = purchase.request, installment.is_remainder
    return intent_params(purchase.id, request, installment.reference, installment.money, customer_id, last=last)


def intent_params(
    purchase_id: UUID,
    request: PurchaseRequest,
    installment: str,
    amount: Money,
    customer_id: str | None,
    *,
    last: bool = False,
) -> dict[str, Any]:
    """The body of the intent, as the SDK takes it. Unless it is the `last`, the payment method is saved."""
    save_method = request.payment_type == "plan" and customer_id is not None and not last
    if save_method:
        methods = payment_methods.recurring(amount=amount, payer=request.payer)
    else:
        methods = payment_methods.allowed(amount=amount, payer=request.payer, payment_type="full")
    params: dict[str, Any] = {
        "amount": amount.amount,
        "currency": amount.currency,
        "allowed_payment_method_types": methods,
        "description": request.program.title,
        "metadata": metadata(purchase_id, request, installment=installment),
    }
    if customer_id is not None:
        params["customer"] = customer_id
    if save_method:
        params["setup_future_usage"] = "off_session"
    return params
