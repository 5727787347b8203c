"""The payment flow `membership`: a Checkout page that starts a subscription, which renews until it is canceled."""

from __future__ import annotations

from uuid import UUID

from checkout.memberships.prices import price_for
from checkout.purchases import payment_methods
from checkout.purchases.context import Buyer, not_payable
from checkout.purchases.domain import PurchaseRequest
from checkout.purchases.session_flow import SessionFlow
from checkout.purchases.session_params import session_params


class MembershipFlow(SessionFlow):
    """A promotion code is a coupon on the first invoice; later invoices are of the list price."""

    async def params(self, purchase_id: UUID, request: PurchaseRequest, buyer: Buyer) -> dict[str, object]:
        price = request.list_price or request.amount
        if request.interval is None or request.tier is None:
            raise ValueError("a membership has a tier and an interval")
        # a subscription can only be paid with a method that can be charged repeatedly
        if not (methods := payment_methods.recurring(amount=price, payer=request.payer)):
            raise not_payable()
        price_id = await price_for(
            self._stripe, tier=request.tier, interval=request.interval, amount=price, name=request.program.title
        )
        discount = await self._discount(purchase_id, request)
        try:
            params = session_params(
                purchase_id=purchase_id,
                request=request,
                frontend_url=self._context.settings.frontend_url,
                email=buyer.bill_to,
                customer_id=await self._customers.customer_for(buyer, request),
                recurring_price_id=price_id,
                automatic_tax=self._context.settings.stripe_tax,
                returns=buyer.returns,
            )
        except ValueError:
            raise not_payable() from None
        params["allowed_payment_method_types"] = methods
        if discount is not None:
            params["discounts"] = [{"coupon": discount.coupon_id}]
        return params
