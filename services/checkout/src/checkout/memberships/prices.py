"""The Stripe price of a membership: one that an operator has configured, or one that checkout creates."""

from __future__ import annotations

from uuid import NAMESPACE_URL, uuid5

import structlog

from checkout.memberships.problems import PRICE_NOT_SET_UP
from checkout.purchases.context import rejected_by_stripe, stripe_errors_as_problems
from checkout.purchases.domain import Interval
from checkout.stripe_client import Stripe, StripeRejected
from checkout.stripe_client.memberships import key_of_price
from contracts.money import Money

log = structlog.get_logger(__name__)

_NAMES = {"month": "monthly", "year": "yearly"}


async def price_for(stripe: Stripe, *, tier: str, interval: Interval, amount: Money, name: str) -> str:
    """The id of the price. Raises Problem 502 and 503; also where the configured price differs from the catalog:
    nobody is charged anything but the displayed price."""
    try:
        with stripe_errors_as_problems():
            if (configured := stripe.configured_price(tier, interval)) is None:
                title = f"{name}, {_NAMES[interval]}"
                key = key_of_price(tier, interval, amount, uuid5(NAMESPACE_URL, title).hex[:8])
                return await stripe.recurring_price(key=key, name=title, amount=amount, interval=interval)
            price = await stripe.price(configured)
    except StripeRejected:
        raise rejected_by_stripe() from None
    if price.amount == amount and price.interval == interval:
        return price.id
    log.error("configured price differs from the catalog", price=price.id, tier=tier, interval=interval)
    raise PRICE_NOT_SET_UP()
