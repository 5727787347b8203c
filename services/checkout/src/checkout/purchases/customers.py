"""A student's one customer at Stripe: made once, however many ask for it at once, and reused ever after."""

from __future__ import annotations

from uuid import UUID

from checkout.purchases import repository
from checkout.purchases.context import Buyer, Desk, in_our_words, refused_by_stripe
from checkout.purchases.domain import Wish
from checkout.stripe_client import Stripe, StripeRefuses
from contracts.people import Contact


async def make(stripe: Stripe, student_id: UUID, *, after: str | None = None) -> str:
    """The id of the student's customer; of a new one `after` the one that Stripe has no more.

    The key is the student's, and what is asked for under it never changes: who asks at the same time gets the same
    customer. How the student is reached is told afterward.
    """
    key = f"customer/{student_id}/after/{after}" if after else f"customer/{student_id}"
    return await stripe.create_customer(metadata={"student_id": str(student_id)}, key=key)


class Customers:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def of(self, buyer: Buyer, wish: Wish) -> str | None:
        """The customer who is to be charged; None for guests (the page makes one) and where a sponsor pays."""
        if buyer.guest or wish.payer == "sponsor":
            return None
        return await self.ensure(wish.student_id, buyer)

    async def known(self, student_id: UUID, buyer: Buyer) -> str | None:
        async with self._desk.uow(buyer) as uow:
            row = await repository.read_customer(uow.db, student_id)
        return None if row is None else str(row.stripe_customer_id)

    async def ensure(self, student_id: UUID, buyer: Buyer) -> str:
        """Raises Problem 502 and 503 for Stripe."""
        contact = buyer.contact if buyer.id == student_id else None
        async with self._desk.uow(buyer) as uow:
            row = await repository.read_customer(uow.db, student_id)
        if row is not None and (contact is None or (row.email, row.name) == (contact.email, contact.name)):
            return str(row.stripe_customer_id)
        try:
            with in_our_words():
                if row is None:
                    customer_id = await make(self._desk.stripe, student_id)
                else:
                    customer_id = str(row.stripe_customer_id)
                if contact is not None:
                    await self._desk.stripe.tell_customer(customer_id, email=contact.email, name=contact.name)
        except StripeRefuses as refused:
            if row is not None and refused.code == "resource_missing":
                return await self._anew(student_id, str(row.stripe_customer_id), buyer)
            raise refused_by_stripe() from None
        return await self._keep(student_id, customer_id, contact, buyer)

    async def forgotten(self, student_id: UUID, refused: StripeRefuses, buyer: Buyer) -> bool:
        """Whether something was refused because Stripe has no such customer (any more): there is another one then."""
        if (refused.code, refused.param) != ("resource_missing", "customer"):
            return False
        known = await self.known(student_id, buyer)
        if known is not None:
            await self._anew(student_id, known, buyer)
        return known is not None

    async def _anew(self, student_id: UUID, gone: str, buyer: Buyer) -> str:
        try:
            with in_our_words():
                customer_id = await make(self._desk.stripe, student_id, after=gone)
        except StripeRefuses:
            raise refused_by_stripe() from None
        async with self._desk.uow(buyer) as uow:
            return await repository.replace_customer(uow.db, student_id, gone, customer_id, at=uow.now)

    async def _keep(self, student_id: UUID, customer_id: str, contact: Contact | None, buyer: Buyer) -> str:
        async with self._desk.uow(buyer) as uow:
            return await repository.keep_customer(uow.db, student_id, customer_id, contact, at=uow.now)
