"""From a purchase request to something that can be paid, with one purchase however often a request is retried.

There are three steps, and no transaction is open while Stripe is called:

1. The purchase is committed together with the exact body that Stripe will be sent.
2. Stripe is called with an idempotency key that belongs to the purchase.
3. The answer is committed together with the event that publishes it.

A retry finds the purchase and continues where the first request stopped. What differs between kinds of payment is in
their PaymentFlow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar
from uuid import UUID, uuid4

from checkout.catalog.promotion_repository import Quote, reserve
from checkout.catalog.repository import is_sold_at
from checkout.problems import CHECKOUT_BUSY, OVER_CAP, PRICE_CHANGED
from checkout.purchases import funding_repository, repository, student_repository
from checkout.purchases.context import Buyer, CheckoutContext, refusal
from checkout.purchases.domain import (
    Abandon,
    Change,
    Decision,
    PaymentFlowName,
    Purchase,
    PurchaseRequest,
    Refuse,
    Replace,
    Resume,
    Start,
    State,
    Terms,
    decide,
)
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.http.erasure import refuse_erased

ROUNDS = 5
"""How often a request looks again when others change the same purchase at the same time."""

Opened = TypeVar("Opened", covariant=True)
Answer = TypeVar("Answer")


class PaymentFlow(Protocol[Opened]):
    """One kind of payment. `Opened` is what the payer needs to pay: a page's URL, an intent's secret."""

    async def params(self, purchase_id: UUID, request: PurchaseRequest, buyer: Buyer) -> dict[str, object]:
        """The body that Stripe will be sent. Raises Problem when the request cannot be paid by this flow."""
        ...

    async def on_created(self, uow: UnitOfWork, purchase_id: UUID, request: PurchaseRequest, buyer: Buyer) -> None:
        """Adds what is committed together with the purchase."""
        ...

    async def start(self, purchase_id: UUID, request: PurchaseRequest, buyer: Buyer) -> Opened | None:
        """Calls Stripe, for the first time or again, and stores the answer. None: the purchase was closed meanwhile."""
        ...

    async def resume(self, purchase: Purchase, buyer: Buyer) -> Opened | None:
        """The answer that is stored, if it can still be used. None: the purchase was closed meanwhile."""
        ...

    async def close(self, purchase: Purchase, buyer: Buyer) -> None:
        """Makes the purchase unpayable. Raises Problem 409 when it has been paid."""
        ...


class PurchaseService:
    def __init__(self, context: CheckoutContext, flows: Mapping[PaymentFlowName, PaymentFlow[object]]) -> None:
        self._context = context
        self._flows = flows

    async def open(
        self,
        flow: PaymentFlow[Answer],
        request: PurchaseRequest,
        buyer: Buyer,
        *,
        quote: Quote | None = None,
        terms: Terms | None = None,
    ) -> Answer:
        """What the flow answers. `flow` is the one that `request.payment_flow` names.

        `quote`: the price with a promotion code, of which one use is reserved with the purchase. Raises Problem: 409
        when this must not be paid (again), 502 and 503 for Stripe.
        """
        assert flow is self._flows[request.payment_flow]  # noqa: S101
        began = utc_now()
        for _ in range(ROUNDS + len(request.covers)):  # a bundle may have to replace each of its parts first
            async with self._context.unit_of_work(buyer) as uow:
                await self._context.record_contact(uow, request.student_id, buyer)
                await _refuse_over_cap(uow, request)
                decision = await self._decide(uow, request)
                if isinstance(decision, Refuse):  # in the transaction: it changes nothing, and admits nobody
                    raise refusal(decision.code)
                if terms is not None and isinstance(decision, Resume):
                    await repository.record_terms(uow.db, decision.purchase.id, terms, at=uow.now)
            match decision:
                case Abandon(purchase=old):
                    await self._context.close(old.id, Change.EXPIRED, buyer)
                case Replace(purchase=old) if old.created_at > began:
                    break  # created concurrently: if each closed the other's, neither could be paid
                case Replace(purchase=old):
                    await self.close(old, buyer)
                case Resume(purchase=existing) if existing.state is not State.CREATED:
                    if (answer := await flow.resume(existing, buyer)) is not None:
                        return answer
                case Resume(purchase=existing):
                    if (answer := await flow.start(existing.id, existing.request, buyer)) is not None:
                        return answer
                case Start():
                    purchase_id = await self._create(flow, request, buyer, quote, terms)
                    if purchase_id and (answer := await flow.start(purchase_id, request, buyer)) is not None:
                        return answer
        raise CHECKOUT_BUSY()

    async def close(self, purchase: Purchase, buyer: Buyer) -> None:
        """Makes an unpaid purchase unpayable. Raises Problem 409 when it has been paid."""
        await self._flows[purchase.request.payment_flow].close(purchase, buyer)

    async def _decide(self, uow: UnitOfWork, request: PurchaseRequest) -> Decision:
        # enrollments first: a purchase that becomes an enrollment between the two reads is then still seen as paid
        enrollments = await student_repository.read_enrollments(uow.db, request.student_id, request.covers)
        purchases = await repository.read_purchases(uow.db, request.student_id, request.covers)
        return decide(request=request, enrollments=enrollments, purchases=purchases, now=uow.now)

    async def _create(
        self,
        flow: PaymentFlow[object],
        request: PurchaseRequest,
        buyer: Buyer,
        quote: Quote | None,
        terms: Terms | None,
    ) -> UUID | None:
        """Commits a new purchase with all that Stripe will be sent. None: another request was faster."""
        purchase_id = uuid4()
        params = await flow.params(purchase_id, request, buyer)
        async with self._context.unit_of_work(buyer) as uow:
            await refuse_erased(uow.db, request.student_id)
            # one at a time per student: different purchases may give the same enrollment
            await repository.lock_student(uow.db, request.student_id)
            await _refuse_over_cap(uow, request)  # again: another item may have been bought meanwhile
            if not isinstance(await self._decide(uow, request), Start):
                return None
            if not await repository.insert_purchase(
                uow.db, purchase_id, request, params=params, terms=terms, at=uow.now
            ):
                return None
            if not await _is_still_sold(uow, request):
                raise PRICE_CHANGED()
            if quote is not None:
                await reserve(uow.db, quote, purchase_id=purchase_id, student_id=request.student_id, at=uow.now)
            await flow.on_created(uow, purchase_id, request, buyer)
        return purchase_id


async def _refuse_over_cap(uow: UnitOfWork, request: PurchaseRequest) -> None:
    """Raises Problem 409 if the sponsor would owe more than it has authorized. A refused request changes no cap."""
    cap = await funding_repository.authorize(uow.db, request, at=uow.now)
    if cap is None:
        return
    share, others = request.payers_share, await repository.sponsored(uow.db, request)
    if cap.currency != share.currency or others + share.amount > cap.amount:
        raise OVER_CAP(amount=share.amount + others, currency=share.currency)


async def _is_still_sold(uow: UnitOfWork, request: PurchaseRequest) -> bool:
    """Whether the catalog still has the price that the request was built with. (A sponsor does not pay the price.)"""
    if request.item_id is None:
        return True
    return await is_sold_at(uow.db, request.item_id, request.list_price if request.payer == "student" else None)
