"""The part of a Checkout Session that the API does not expose: what to create when the customer pays."""

from __future__ import annotations

from dataclasses import dataclass, field

from stripe_sandbox.params import Params
from stripe_sandbox.store import Obj


@dataclass
class CheckoutLine:
    """A line item as displayed (`item`), with its price and quantity."""

    item: Obj
    price: Obj
    quantity: int


@dataclass
class CheckoutPlan:
    """Amounts are in minor units. `intent` and `customer` are set by the first payment attempt."""

    lines: list[CheckoutLine]
    payment_intent_data: Params = field(default_factory=dict)
    subscription_data: Params = field(default_factory=dict)
    invoice_data: Params | None = None
    """Parameters of the invoice to create after the payment; None for no invoice."""
    requires_customer: bool = False
    discount: Obj | None = None
    """The applied coupon."""
    promotion_code: str | None = None
    intent: str | None = None
    customer: str | None = None
    email: str | None = None
    name: str | None = None
    submitted: dict[str, str] = field(default_factory=dict)
    """The last submitted form, to prefill the page after a decline."""
    error: str | None = None
    """The error message of the last attempt."""
