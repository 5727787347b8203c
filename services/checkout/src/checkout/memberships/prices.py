"""The price at Stripe by which a membership recurs: one that an operator has made, or one that we keep there."""

from __future__ import annotations

from uuid import NAMESPACE_URL, uuid5

import structlog

from checkout.purchases.context import in_our_words, refused_by_stripe
from checkout.purchases.domain import Interval
from checkout.stripe_client import Stripe, StripeRefuses
from checkout.stripe_client.memberships import key_of_price
from contracts.money import Money
from kit.http.errors import Problem

log = structlog.get_logger(__name__)

_NAMES = {"month": "monthly", "year": "yearly"}


async def price_for(stripe: Stripe, *, tier: str, interval: Interval, amount: Money, name: str) -> str:
    """The id of the price. Raises Problem 502 and 503; also where an operator's price is not what the catalog says:
    nobody is charged anything but what was shown."""
    try:
        with in_our_words():
            if (configured := stripe.configured_price(tier, interval)) is None:
                title = f"{name}, {_NAMES[interval]}"
                key = key_of_price(tier, interval, amount, uuid5(NAMESPACE_URL, title).hex[:8])
                return await stripe.recurring_price(key=key, name=title, amount=amount, interval=interval)
            price = await stripe.price(configured)
    except StripeRefuses:
        raise refused_by_stripe() from None
    if price.amount == amount and price.interval == interval:
        return price.id
    log.error("price differs from the catalog's", price=price.id, tier=tier, interval=interval)
    raise Problem(
        503,
        "price_not_set_up",
        "This membership's price at Stripe is not that of the catalog; an admin has to make them one.",
    )
