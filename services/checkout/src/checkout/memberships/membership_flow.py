"""The way `membership`: a page of Stripe's that begins a subscription, which goes on until it is ended."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from checkout.memberships.prices import price_for
from checkout.purchases import payment_methods
from checkout.purchases.context import Buyer, not_payable
from checkout.purchases.domain import Wish
from checkout.purchases.session_flow import Pages
from checkout.purchases.session_params import session_params


class MembershipWay(Pages):
    """What a promotion code takes off is a coupon for the first invoice; from the second on it costs the list price."""

    async def params(self, purchase_id: UUID, wish: Wish, buyer: Buyer) -> dict[str, Any]:
        price = wish.list_price or wish.amount
        if wish.interval is None or wish.tier is None:
            raise ValueError("a membership has a tier and an interval")
        # on a page that begins a subscription only what can be charged again and again is of use
        if not (methods := payment_methods.recurring(amount=price, payer=wish.payer)):
            raise not_payable()
        price_id = await price_for(
            self._stripe, tier=wish.tier, interval=wish.interval, amount=price, name=wish.program.title
        )
        discount = await self._discount(purchase_id, wish)
        try:
            params = session_params(
                purchase_id=purchase_id,
                wish=wish,
                frontend_url=self._desk.settings.frontend_url,
                email=buyer.bill_to,
                customer_id=await self._customers.of(buyer, wish),
                recurring_price_id=price_id,
                automatic_tax=self._desk.settings.stripe_tax,
                returns=buyer.returns,
            )
        except ValueError:
            raise not_payable() from None
        params["allowed_payment_method_types"] = methods
        if discount is not None:
            params["discounts"] = [{"coupon": discount.coupon_id}]
        return params
