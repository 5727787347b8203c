"""Something to pay an amount due with: one intent or one invoice at a time, known to us before anybody can pay it.

Three steps as in `buying`: the row is read, Stripe is asked under a key that belongs to the row, and the answer is kept
if the row still wants it. Only what is kept is handed out, charged or sent; what the row does not want is ended.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from checkout.installments import repository
from checkout.installments.domain import PAYABLE
from checkout.payments.repository import insert_payment
from checkout.purchases import payment_methods
from checkout.purchases.domain import Wish
from checkout.purchases.repository import wish_of
from checkout.purchases.stripe_metadata import metadata
from checkout.stripe_client import Intent, SentInvoice, Stripe
from contracts.money import Money
from kit.db.unit_of_work import UnitOfWork
from kit.runtime.failures import Transient

Begin = Callable[[], AbstractAsyncContextManager[UnitOfWork]]
"""Opens a unit of work, on whoever's behalf."""

INVOICE_DAYS = 7
"""As long as its reminders go on."""
_ENDED = ("succeeded", "processing", "canceled", "requires_capture")


class NotDue(Exception):
    """It is not to be paid (any more): paid, closed, or on its way."""


class Means:
    def __init__(self, stripe: Stripe, begin: Begin) -> None:
        self._stripe = stripe
        self._begin = begin

    async def intent(self, id: UUID, customer_id: str | None) -> Intent:
        """The intent with which this amount can be paid, as it stands: also one that is paid or on its way.

        Raises NotDue, and StripeAway or StripeRefuses.
        """
        for _ in range(5):
            purchase, row = await self._payable(id)
            if row.stripe_invoice_id is not None and not await self.end(row):
                raise NotDue
            known = row.stripe_payment_intent_id
            if known is not None:
                intent = await self._stripe.intent(known)
                if intent.status != "canceled":
                    return intent
                await self._forget(row)
                continue
            number = row.asked + 1
            params = intent_params(purchase, row, customer_id)
            made = await self._stripe.create_intent(params, key=f"{row.id}/{row.round}/intent/{number}")
            if await self._keep_intent(id, row, made, number):
                return made
            await self._stripe.cancel_intent(made.id, key=f"{made.id}/cancel")
            await self._used_up(id, number)
        raise Transient("others are changing this amount")

    async def invoice(self, id: UUID, customer_id: str) -> SentInvoice:
        """The invoice for this amount, sent. Raises NotDue, and StripeAway or StripeRefuses."""
        for _ in range(5):
            purchase, row = await self._payable(id)
            if row.stripe_payment_intent_id is not None and not await self.end(row):
                raise NotDue
            if row.stripe_invoice_id is not None:
                key = f"{row.id}/{row.round}/invoice/{row.asked}"
                sent = await self._stripe.send_invoice(row.stripe_invoice_id, key=key)
                if sent.status != "void":
                    return sent
                await self._forget(row)
                continue
            number = row.asked + 1
            wish = wish_of(purchase)
            draft = await self._stripe.draft_invoice(
                customer_id=customer_id,
                amount=Money(amount=row.amount, currency=row.currency),
                description=wish.program.title,
                days_until_due=INVOICE_DAYS,
                metadata=metadata(purchase.id, wish, installment=repository.reference(row)),
                key=f"{row.id}/{row.round}/invoice/{number}",
            )
            if not await self._keep(id, row, number, stripe_invoice_id=draft.id):
                await self._stripe.end_invoice(draft.id, key=draft.id)
                await self._used_up(id, number)
        raise Transient("others are changing this amount")

    async def end(self, row: Row[Any]) -> bool:
        """Makes that nobody can pay by what was handed out for the row. False: somebody has, or is about to."""
        if row.stripe_payment_intent_id is not None:
            intent = await self._stripe.cancel_intent(
                row.stripe_payment_intent_id, key=f"{row.stripe_payment_intent_id}/end"
            )
            if intent.status != "canceled":
                return False
        if row.stripe_invoice_id is not None:
            invoice = await self._stripe.end_invoice(row.stripe_invoice_id, key=f"{row.stripe_invoice_id}/end")
            if invoice.status != "void":
                return False
        await self._forget(row)
        return True

    async def _payable(self, id: UUID) -> tuple[Row[Any], Row[Any]]:
        """The purchase and the row, when nothing else is out by which the same money could be paid."""
        async with self._begin() as uow:
            found = await repository.lock(uow.db, id)
            rivals = await self._rivals(uow, found[1]) if found is not None else []
            outdated = found is not None and await self._outdated(uow, *found)
        if found is None or found[1].status not in PAYABLE or outdated:
            raise NotDue
        for rival in rivals:
            if rival.status == "processing" or not await self.end(rival):
                raise NotDue
            if rival.kind == "remainder":
                await self._drop(rival)
        return found

    async def _drop(self, remainder: Row[Any]) -> None:
        """Nobody pays the rest at once now. What was handed out for it meanwhile is seen before anything is kept."""
        async with self._begin() as uow:
            found = await repository.lock(uow.db, remainder.id)
            if found is not None and found[1].status in PAYABLE and not handed_out(found[1]):
                await repository.write(uow.db, remainder.id, at=uow.now, status="canceled", closed_because="covered")

    async def _outdated(self, uow: UnitOfWork, purchase: Row[Any], row: Row[Any]) -> bool:
        """Whether a part of the rest has been paid since it was reckoned up. (That of a page follows its facts.)"""
        if row.kind != "remainder" or purchase.how == "page":
            return False
        parts = [each for each in await repository.of_purchase(uow.db, purchase.id) if each.kind != "remainder"]
        if any(each.status == "processing" for each in parts):
            return True
        return bool(sum(each.amount for each in parts if each.status in PAYABLE) != row.amount)

    async def _keep_intent(self, id: UUID, row: Row[Any], intent: Intent, number: int) -> bool:
        return await self._keep(id, row, number, stripe_payment_intent_id=intent.id, client_secret=intent.client_secret)

    async def _keep(self, id: UUID, seen: Row[Any], number: int, **values: Any) -> bool:
        """False: the row has changed, and wants it no more."""
        async with self._begin() as uow:
            found = await repository.lock(uow.db, id)
            if found is None:
                return False
            purchase, row = found
            asked = next(iter(values.values()))
            if asked in (row.stripe_payment_intent_id, row.stripe_invoice_id):
                return True  # somebody else has asked for the same, under the same key
            if row.status not in PAYABLE or (row.asked, row.round, row.amount) != (seen.asked, seen.round, seen.amount):
                return False
            if any(handed_out(rival) for rival in await self._rivals(uow, row)):
                return False
            if await self._outdated(uow, purchase, row):
                return False
            await repository.write(uow.db, id, at=uow.now, asked=number, **values)
            await insert_payment(
                uow.db,
                purchase.id,
                wish_of(purchase),
                refs=[asked],
                intent_id=values.get("stripe_payment_intent_id"),
                amount=Money(amount=row.amount, currency=row.currency),
                installment=repository.reference(row),
                at=uow.now,
            )
            return True

    async def _used_up(self, id: UUID, number: int) -> None:
        """What was asked for has been ended, and under the same key Stripe would answer with it again."""
        async with self._begin() as uow:
            found = await repository.lock(uow.db, id)
            if found is not None and found[1].asked < number:
                await repository.write(uow.db, id, at=uow.now, asked=number)

    async def _rivals(self, uow: UnitOfWork, row: Row[Any]) -> list[Row[Any]]:
        """What else is out by which the same money could be paid: the rest at once, or one of its parts."""
        others = [each for each in await repository.of_purchase(uow.db, row.purchase_id) if each.id != row.id]
        rivals = [each for each in others if (each.kind == "remainder") != (row.kind == "remainder")]
        out = [each for each in rivals if each.status in (*PAYABLE, "processing")]
        return [each for each in out if handed_out(each) or each.kind == "remainder"]

    async def _forget(self, row: Row[Any]) -> None:
        async with self._begin() as uow:
            found = await repository.lock(uow.db, row.id)
            if found is None:
                return
            purchase, now = found
            same = (row.stripe_payment_intent_id, row.stripe_invoice_id)
            if (now.stripe_payment_intent_id, now.stripe_invoice_id) == same:
                gone = {"stripe_payment_intent_id": None, "stripe_invoice_id": None, "client_secret": None}
                await repository.write(uow.db, row.id, at=uow.now, **gone, pay_url=repository.pay_page(purchase, now))


def handed_out(row: Row[Any]) -> bool:
    return bool(row.stripe_payment_intent_id or row.stripe_invoice_id)


def over(intent: Intent) -> bool:
    return intent.status in _ENDED


def intent_params(purchase: Row[Any], row: Row[Any], customer_id: str | None) -> dict[str, Any]:
    wish = wish_of(purchase)
    amount = Money(amount=row.amount, currency=row.currency)
    last = row.kind == "remainder"
    return params_for(purchase.id, wish, repository.reference(row), amount, customer_id, last=last)


def params_for(
    purchase_id: UUID, wish: Wish, installment: str, amount: Money, customer_id: str | None, *, last: bool = False
) -> dict[str, Any]:
    """What Stripe is asked for. Where more is to come (not after the `last`), what it is paid with is saved."""
    later = wish.payment_type == "plan" and customer_id is not None and not last
    if later:
        methods = payment_methods.recurring(amount=amount, payer=wish.payer)
    else:
        methods = payment_methods.allowed(amount=amount, payer=wish.payer, payment_type="full")
    params: dict[str, Any] = {
        "amount": amount.amount,
        "currency": amount.currency,
        "allowed_payment_method_types": methods,
        "description": wish.program.title,
        "metadata": metadata(purchase_id, wish, installment=installment),
    }
    if customer_id is not None:
        params["customer"] = customer_id
    if later:
        params["setup_future_usage"] = "off_session"
    return params
