"""What a checkout session will do when the customer pays; Stripe keeps this to itself."""

from dataclasses import dataclass, field

from stripe_sandbox.params import Params
from stripe_sandbox.store import Obj


@dataclass
class CheckoutLine:
    """One line: what the session shows (`item`), and what is bought."""

    item: Obj
    price: Obj
    quantity: int


@dataclass
class CheckoutPlan:
    """Amounts are minor units. `intent` and `customer` are set at the first attempt to pay."""

    lines: list[CheckoutLine]
    payment_intent_data: Params = field(default_factory=dict)
    subscription_data: Params = field(default_factory=dict)
    invoice_data: Params | None = None
    """The invoice to make after a payment; none for no invoice."""
    wants_customer: bool = False
    discount: Obj | None = None
    """The coupon in force."""
    promotion_code: str | None = None
    intent: str | None = None
    customer: str | None = None
    email: str | None = None
    name: str | None = None
    typed: dict[str, str] = field(default_factory=dict)
    """What the page's form was last sent with, to be filled in again after a decline."""
    error: str | None = None
    """What the page tells the customer about the last attempt."""
