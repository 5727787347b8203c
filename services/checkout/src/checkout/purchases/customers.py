"""A student's one customer at Stripe: created once, however many requests need it at the same time, then reused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from checkout.purchases import student_repository
from checkout.purchases.context import Buyer, CheckoutContext, rejected_by_stripe, stripe_errors_as_problems
from checkout.purchases.domain import PurchaseRequest
from checkout.stripe_client import Stripe, StripeRejected
from contracts.people import Contact
from kit.db.unit_of_work import UnitOfWork
from kit.http.erasure import refuse_erased
from kit.http.problems import STUDENT_ERASED, Problem


async def create(stripe: Stripe, student_id: UUID, *, after: str | None = None) -> str:
    """The id of the student's customer; `after`: of the one that replaces a customer that Stripe no longer has.

    The idempotency key is the student's and its parameters never change: concurrent requests get the same customer.
    The contact is sent afterward.
    """
    key = f"customer/{student_id}/after/{after}" if after else f"customer/{student_id}"
    return await stripe.create_customer(metadata={"student_id": str(student_id)}, key=key)


async def create_with_contact(
    stripe: Stripe, student_id: UUID, contact: Contact | None, *, after: str | None = None
) -> str:
    """The same, with the contact that is stored: for jobs, where the student is not there to state it."""
    customer_id = await create(stripe, student_id, after=after)
    if contact is not None:
        await stripe.update_customer(customer_id, email=contact.email, name=contact.name)
    return customer_id


class Customers:
    def __init__(self, context: CheckoutContext) -> None:
        self._context = context

    async def customer_for(self, buyer: Buyer, request: PurchaseRequest) -> str | None:
        """The customer to charge; None where a sponsor pays, and for guests who pay once (the page creates one)."""
        if request.payer == "sponsor" or (buyer.guest and request.payment_type != "plan"):
            return None
        return await self.ensure(request.student_id, buyer)

    async def existing(self, student_id: UUID, buyer: Buyer) -> str | None:
        async with self._context.unit_of_work(buyer) as uow:
            customer = await student_repository.read_customer(uow.db, student_id)
        return None if customer is None else customer.stripe_customer_id

    async def ensure(self, student_id: UUID, buyer: Buyer) -> str:
        """Raises Problem 409 for a student who was erased, 502 and 503 for Stripe."""
        contact = buyer.contact if buyer.id == student_id else None
        async with self._context.unit_of_work(buyer) as uow:
            stored = await student_repository.read_customer(uow.db, student_id)
        if stored is not None and (contact is None or (stored.email, stored.name) == (contact.email, contact.name)):
            return stored.stripe_customer_id
        try:
            with stripe_errors_as_problems():
                if stored is None:
                    customer_id = await create(self._context.stripe, student_id)
                else:
                    customer_id = stored.stripe_customer_id
                if contact is not None:
                    await self._context.stripe.update_customer(customer_id, email=contact.email, name=contact.name)
        except StripeRejected as rejected:
            if stored is not None and rejected.code == "resource_missing":
                return await self._replace(student_id, stored.stripe_customer_id, buyer)
            raise rejected_by_stripe() from None
        return await self._save(student_id, customer_id, contact, buyer)

    async def replace_missing(self, student_id: UUID, rejected: StripeRejected, buyer: Buyer) -> bool:
        """Replaces the customer if Stripe rejected something because it no longer has it. False: that was not why."""
        if (rejected.code, rejected.param) != ("resource_missing", "customer"):
            return False
        stored = await self.existing(student_id, buyer)
        if stored is not None:
            await self._replace(student_id, stored, buyer)
        return stored is not None

    async def _replace(self, student_id: UUID, gone: str, buyer: Buyer) -> str:
        try:
            with stripe_errors_as_problems():
                customer_id = await create(self._context.stripe, student_id, after=gone)
        except StripeRejected:
            raise rejected_by_stripe() from None
        async with self._storage(student_id, customer_id, buyer) as uow:
            present = await student_repository.replace_customer(uow.db, student_id, gone, customer_id, at=uow.now)
        return present or customer_id

    async def _save(self, student_id: UUID, customer_id: str, contact: Contact | None, buyer: Buyer) -> str:
        async with self._storage(student_id, customer_id, buyer) as uow:
            return await student_repository.save_customer(uow.db, student_id, customer_id, contact, at=uow.now)

    @asynccontextmanager
    async def _storage(self, student_id: UUID, customer_id: str, buyer: Buyer) -> AsyncIterator[UnitOfWork]:
        """The transaction that stores the customer. Raises Problem 409 if the student was erased meanwhile: nothing
        else would delete it at Stripe then."""
        try:
            async with self._context.unit_of_work(buyer) as uow:
                await refuse_erased(uow.db, student_id)
                yield uow
        except Problem as refused:
            if refused.type is STUDENT_ERASED:
                await self._context.stripe.delete_customer(customer_id)
            raise
