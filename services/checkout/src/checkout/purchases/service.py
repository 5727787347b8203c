"""From a wish to something that can be paid: one purchase, whoever dies on the way.

Three steps, and no transaction is open while Stripe is asked: the purchase is committed with the very body that Stripe
will get; Stripe is asked under a key that belongs to the purchase; the answer is committed with the event that tells
it. A retry finds the purchase and goes on from where the first request ended. What is different from one way to pay to
another is in its `Way`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol
from uuid import UUID, uuid4

from checkout.catalog.promotion_repository import Quote, reserve
from checkout.catalog.repository import is_sold_at
from checkout.purchases import repository
from checkout.purchases.context import Buyer, Desk, Terms, refusal
from checkout.purchases.domain import Abandon, Decision, GoOn, How, Purchase, Refuse, Replace, Start, State, Wish, begin
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.http.errors import Problem

ROUNDS = 5
"""How often a request looks again when others change the same purchase at the same time."""


class Way(Protocol):
    """One way to pay. What `ask` and `again` answer is the way's own; None: the purchase was closed meanwhile."""

    async def params(self, purchase_id: UUID, wish: Wish, buyer: Buyer) -> dict[str, Any]:
        """What Stripe will be asked for. Raises Problem when it cannot be paid in this way."""
        ...

    async def begun(self, uow: UnitOfWork, purchase_id: UUID, wish: Wish, buyer: Buyer) -> None:
        """What is committed together with the purchase."""
        ...

    async def ask(self, purchase_id: UUID, wish: Wish, buyer: Buyer) -> Any:
        """Asks Stripe, for the first time or again, and keeps the answer."""
        ...

    async def again(self, purchase: Purchase, buyer: Buyer) -> Any:
        """The answer that was given before, if it is still good."""
        ...

    async def close(self, purchase: Purchase, buyer: Buyer) -> None:
        """Makes that it cannot be paid any more. Raises Problem 409 when it has been."""
        ...


class Purchasing:
    def __init__(self, desk: Desk, ways: Mapping[How, Way]) -> None:
        self._desk = desk
        self._ways = ways

    async def open(self, wish: Wish, buyer: Buyer, *, quote: Quote | None = None, terms: Terms | None = None) -> Any:
        """What the wish's way answers. Raises Problem: 409 when this must not be paid (again), 502 and 503 for Stripe.

        `quote`: the price with a promotion code, of which one use is reserved with the purchase.
        """
        way, began = self._ways[wish.how], utc_now()
        for _ in range(ROUNDS + len(wish.covers)):  # a bundle may have to replace each of its parts first
            async with self._desk.uow(buyer) as uow:
                await self._desk.note_contact(uow, wish.student_id, buyer)
                decision = await self._decide(uow, wish)
                if terms is not None and isinstance(decision, GoOn):
                    await repository.note_terms(uow.db, decision.purchase.id, terms, at=uow.now)
            match decision:
                case Refuse(code=code):
                    raise refusal(code)
                case Abandon(purchase=old):
                    await self._desk.close(old.id, State.EXPIRED, buyer)
                case Replace(purchase=old) if old.created_at > began:
                    break  # begun beside this request: to close each other's would leave nothing that can be paid
                case Replace(purchase=old):
                    await self._ways[old.wish.how].close(old, buyer)
                case GoOn(purchase=known) if known.state is not State.CREATED:
                    if (answer := await way.again(known, buyer)) is not None:
                        return answer
                case GoOn(purchase=known):
                    if (answer := await way.ask(known.id, known.wish, buyer)) is not None:
                        return answer
                case Start():
                    purchase_id = await self._start(way, wish, buyer, quote, terms)
                    if purchase_id and (answer := await way.ask(purchase_id, wish, buyer)) is not None:
                        return answer
        raise Problem(409, "checkout_busy", "Others are changing this purchase; try again.")

    async def close(self, purchase: Purchase, buyer: Buyer) -> None:
        """Ends a purchase that is not paid. Raises Problem 409 when it has been."""
        await self._ways[purchase.wish.how].close(purchase, buyer)

    async def _decide(self, uow: UnitOfWork, wish: Wish) -> Decision:
        # the enrollments first: a purchase that turns into an enrollment in between is then still seen as paid
        enrollments = await repository.read_enrollments(uow.db, wish.student_id, wish.covers)
        known = await repository.read_purchases(uow.db, wish.student_id, wish.covers)
        return begin(wish=wish, enrollments=enrollments, purchases=known, now=uow.now)

    async def _start(self, way: Way, wish: Wish, buyer: Buyer, quote: Quote | None, terms: Terms | None) -> UUID | None:
        """Commits a new purchase with all that Stripe will be asked for. None: another request was faster."""
        purchase_id = uuid4()
        params = await way.params(purchase_id, wish, buyer)
        async with self._desk.uow(buyer) as uow:
            # one at a time for a student: what they buy may give the same enrollment under different names
            await repository.lock_student(uow.db, wish.student_id)
            if not isinstance(await self._decide(uow, wish), Start):
                return None
            if not await repository.insert_purchase(uow.db, purchase_id, wish, params=params, terms=terms, at=uow.now):
                return None
            if not await _still_so(uow, wish):
                raise refusal("price_changed")
            if quote is not None:
                await reserve(uow.db, quote, purchase_id=purchase_id, student_id=wish.student_id, at=uow.now)
            await way.begun(uow, purchase_id, wish, buyer)
        return purchase_id


async def _still_so(uow: UnitOfWork, wish: Wish) -> bool:
    """Whether the catalog says what it said before Stripe was asked. (What a sponsor pays is not the price.)"""
    if wish.item_id is None:
        return True
    return await is_sold_at(uow.db, wish.item_id, wish.list_price if wish.payer == "student" else None)
