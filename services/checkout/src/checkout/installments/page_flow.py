"""The payment flow `page`, with plans: the page takes the first installment and saves the payment method, and checkout
collects the others."""

from __future__ import annotations

from uuid import UUID

from checkout.installments import repository
from checkout.installments.clock import Clock
from checkout.installments.domain import FULL, plan_installments
from checkout.purchases import repository as purchases
from checkout.purchases.context import Buyer, CheckoutContext
from checkout.purchases.customers import Customers
from checkout.purchases.domain import PurchaseRequest
from checkout.purchases.session_flow import SessionFlow
from kit.db.unit_of_work import UnitOfWork


class PageFlow(SessionFlow):
    def __init__(self, context: CheckoutContext, customers: Customers, clock: Clock) -> None:
        super().__init__(context, customers)
        self._clock = clock

    async def on_created(self, uow: UnitOfWork, purchase_id: UUID, request: PurchaseRequest, buyer: Buyer) -> None:
        await super().on_created(uow, purchase_id, request, buyer)
        if request.due is None:
            return
        link = self._context.pay_link
        await purchases.prepare_enrollment(
            uow.db, purchase_id, request, checkout_url=link(purchase_id), expires_at=None
        )
        planned = plan_installments(request.plan or FULL, request.amount, await self._clock.now_in(uow.db))
        await repository.add_plan(uow.db, purchase_id, request.student_id, planned, pay_url=link)
