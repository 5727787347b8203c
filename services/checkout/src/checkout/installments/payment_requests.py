"""Intents and invoices for an installment: at most one at a time, and stored before anyone can pay it.

The first installment of a plan is paid by its student, with an intent that saves the payment method (or on Stripe's
page, which is the purchase's own). Every other amount is an invoice: charged to the saved method, paid in a card form
with the invoice's secret, on the invoice's page, or sent to a sponsor with terms. See docs/decisions/0014.

Three steps, as for a purchase: the installment is read, Stripe is asked under an idempotency key that belongs to the
installment, and the answer is stored if the installment has not changed. Only stored intents and invoices are handed
out, charged or sent; the others are canceled.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from checkout.installments import repository
from checkout.installments.domain import PAYABLE, Installment
from checkout.payments.repository import insert_payment
from checkout.purchases import payment_methods
from checkout.purchases.domain import PurchaseRequest
from checkout.purchases.funding_repository import write_funding_invoice
from checkout.purchases.repository import PurchaseRow
from checkout.purchases.stripe_metadata import metadata
from checkout.stripe_client import Intent, InvoiceTerms, PayableInvoice, Stripe
from contracts.money import Money
from kit.db.unit_of_work import UnitOfWork
from kit.runtime.failures import Transient

BeginUnitOfWork = Callable[[], AbstractAsyncContextManager[UnitOfWork]]

_ROUNDS = 5


class NotDue(Exception):
    """The installment cannot be paid: it is paid, closed, or a payment is processing."""


@dataclass(frozen=True, kw_only=True)
class CardForm:
    """What the front end's card form pays: an intent, of its own or of an invoice. `amount` includes tax.

    `done`: it is paid, or a payment is being processed.
    """

    intent_id: str
    client_secret: str | None
    amount: Money
    done: bool


class PaymentRequests:
    def __init__(self, stripe: Stripe, begin: BeginUnitOfWork) -> None:
        self._stripe = stripe
        self._begin = begin

    async def card_form(self, id: UUID, customer_id: str) -> CardForm:
        """Raises NotDue, and StripeUnavailable or StripeRejected."""
        async with self._begin() as uow:
            found = await repository.lock(uow.db, id)
        if found is None:
            raise NotDue
        if found[1].saves_method:
            return _form(await self.intent(id, customer_id))
        invoice = await self.invoice(id, customer_id)
        intent = await self._stripe.invoice_intent(invoice.id)
        if invoice.status == "paid" or intent is None:
            raise NotDue
        return _form(intent, await self._stripe.confirmation_secret(invoice.id))

    async def intent(self, id: UUID, customer_id: str | None) -> Intent:
        """The first installment's intent in its current state, which may also be succeeded or processing.

        Raises NotDue, and StripeUnavailable or StripeRejected.
        """
        for _ in range(_ROUNDS):
            purchase, installment = await self._payable(id)
            if installment.stripe_invoice_id is not None:
                if not await self.end(installment):
                    raise NotDue
                continue
            if installment.stripe_payment_intent_id is not None:
                intent = await self._stripe.intent(installment.stripe_payment_intent_id)
                if intent.status != "canceled":
                    return intent
                await self._forget(installment)
                continue
            number = installment.asked + 1
            params = intent_params(purchase.id, purchase.request, installment.reference, installment.money, customer_id)
            key = f"{installment.id}/{installment.round}/intent/{number}/{customer_id or 'guest'}"
            made = await self._stripe.create_intent(params, key=key)
            if await self._store(installment, number, intent_id=made.id, client_secret=made.client_secret):
                return made
            await self._stripe.cancel_intent(made.id, key=f"{made.id}/cancel")
            await self._skip_key(id, number)
        raise Transient("the installment keeps changing")

    async def invoice(self, id: UUID, customer_id: str, terms: InvoiceTerms | None = None) -> PayableInvoice:
        """The installment's invoice, finalized, or sent if it has terms. It may be paid already, by the payer or by
        their credit balance.

        Raises NotDue, and StripeUnavailable or StripeRejected.
        """
        for _ in range(_ROUNDS):
            purchase, installment = await self._payable(id)
            if installment.stripe_payment_intent_id is not None:
                if not await self.end(installment):
                    raise NotDue
                continue
            if installment.stripe_invoice_id is not None:
                invoice = await self._opened(installment, installment.stripe_invoice_id, sent=terms is not None)
                if invoice.status == "void":
                    await self._forget(installment)
                    continue
                if invoice.status != "paid" and invoice.customer_id not in (customer_id, None):
                    if not await self.end(installment):  # of a customer that was deleted at Stripe
                        raise NotDue
                    continue
                return invoice
            number = installment.asked + 1
            draft = await self._stripe.draft_invoice(
                customer_id=customer_id,
                amount=installment.money,
                description=_description(purchase, installment),
                metadata=metadata(
                    purchase.id,
                    purchase.request,
                    installment=installment.reference,
                    payer=installment.payer_of(purchase.payer),
                ),
                key=f"{installment.id}/{installment.round}/invoice/{number}/{customer_id}",  # it may be replaced
                terms=terms,
                automatic_tax=_is_taxed(purchase),
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

    async def _opened(self, installment: Installment, invoice_id: str, *, sent: bool) -> PayableInvoice:
        """The invoice, which can be paid from now on; its page is where the installment is paid."""
        if sent:
            key = f"{installment.id}/{installment.round}/invoice/{installment.asked}"
            invoice = await self._stripe.send_invoice(invoice_id, key=key)
        else:
            invoice = await self._stripe.finalize_invoice(invoice_id)
        if invoice.status == "open" and invoice.url is not None and invoice.url != installment.pay_url:
            async with self._begin() as uow:
                found = await repository.lock(uow.db, installment.id)
                if found is not None and found[1].stripe_invoice_id == invoice_id:
                    await repository.write(uow.db, installment.id, at=uow.now, pay_url=invoice.url)
        return invoice

    async def _payable(self, id: UUID) -> tuple[PurchaseRow, Installment]:
        """The purchase and the installment, after ending every other request by which the same money could be paid."""
        async with self._begin() as uow:
            found = await repository.lock(uow.db, id)
            rivals = await _rivals(uow, found[1]) if found is not None else []
            not_due = found is not None and await is_not_due(uow, *found)
        if found is None or not found[1].is_payable or not_due or found[0].collection_stopped is not None:
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
            if purchase.collection_stopped is not None or any(each.is_requested for each in await _rivals(uow, now)):
                return False
            if await is_not_due(uow, purchase, now):
                return False
            changes: repository.InstallmentChanges
            if intent_id is not None:
                changes = {"asked": number, "stripe_payment_intent_id": intent_id, "client_secret": client_secret}
            else:
                changes = {"asked": number, "stripe_invoice_id": invoice_id}
            await repository.write(uow.db, now.id, at=uow.now, **changes)
            payer = now.payer_of(purchase.payer)
            if invoice_id is not None and payer == "sponsor":
                await write_funding_invoice(uow.db, purchase.id, invoice_id, at=uow.now)
            await insert_payment(
                uow.db,
                purchase.id,
                purchase.request,
                refs=[ref for ref in (intent_id, invoice_id) if ref is not None],
                intent_id=intent_id,
                amount=now.money,
                installment=now.reference,
                payer=payer,
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
            _, now = found
            same = (installment.stripe_payment_intent_id, installment.stripe_invoice_id)
            if (now.stripe_payment_intent_id, now.stripe_invoice_id) == same:
                await repository.write(uow.db, now.id, at=uow.now, **repository.without_request(now))


async def _rivals(uow: UnitOfWork, installment: Installment) -> list[Installment]:
    """Other installments by which the same money could be paid: the remainder, or one that it stands for."""
    others = await repository.of_purchase(uow.db, installment.purchase_id)
    rivals = [each for each in others if each.is_remainder != installment.is_remainder]
    open_rivals = [each for each in rivals if each.status in (*PAYABLE, "processing")]
    return [each for each in open_rivals if each.is_requested or each.is_remainder]


async def is_not_due(uow: UnitOfWork, purchase: PurchaseRow, installment: Installment) -> bool:
    """Whether some of the remainder was paid since it was computed, or a co-pay is not owed yet."""
    if not installment.is_remainder:
        return await repository.awaits_sponsor(uow.db, installment)
    parts = [each for each in await repository.of_purchase(uow.db, purchase.id) if not each.is_remainder]
    if any(each.status == "processing" for each in parts):
        return True
    return sum(each.amount for each in parts if each.is_payable) != installment.amount


def _form(intent: Intent, secret: str | None = None) -> CardForm:
    return CardForm(
        intent_id=intent.id,
        client_secret=secret or intent.client_secret,
        amount=intent.amount,
        done=intent.status in ("succeeded", "processing", "requires_capture"),
    )


def _description(purchase: PurchaseRow, installment: Installment) -> str:
    title = purchase.program.title
    if installment.is_co_pay:
        return f"{title}, co-pay"
    if installment.is_remainder or not purchase.installments:
        return title
    return f"{title}, installment {installment.position} of {purchase.installments}"


def _is_taxed(purchase: PurchaseRow) -> bool:
    """Whether the first installment's page adds tax: then so do the invoices of the others."""
    return bool((purchase.session_params or {}).get("automatic_tax"))


def intent_params(
    purchase_id: UUID, request: PurchaseRequest, installment: str, amount: Money, customer_id: str | None
) -> dict[str, Any]:
    """The body of the first installment's intent, as the SDK takes it. That of a plan saves the payment method; the
    front end confirms it with the student present, since Stripe rejects `off_session` beside `setup_future_usage`."""
    save_method = request.payment_type == "plan" and customer_id is not None
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
