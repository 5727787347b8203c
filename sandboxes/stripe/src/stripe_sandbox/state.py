"""The whole sandbox: one object that every operation is handed."""

import asyncio
from dataclasses import dataclass, field

from stripe_sandbox.checkout_plan import CheckoutPlan
from stripe_sandbox.clock import Clock
from stripe_sandbox.delivery import Deliveries, Delivery
from stripe_sandbox.endpoints import Endpoints
from stripe_sandbox.events import Cause, EventLog
from stripe_sandbox.faults import Faults
from stripe_sandbox.idempotency import IdempotencyKeys
from stripe_sandbox.instruments import Instrument
from stripe_sandbox.settings import Settings
from stripe_sandbox.store import Obj, Store, clone


@dataclass
class OrderedFailures:
    """So many charges still to fail, and the reason that the bank gives."""

    left: int
    decline_code: str = "generic_decline"


@dataclass
class Hidden:
    """What Stripe knows of its objects and does not show."""

    instruments: dict[str, Instrument] = field(default_factory=dict)
    """By payment method: how it behaves when it is charged."""
    checkouts: dict[str, CheckoutPlan] = field(default_factory=dict)
    """By checkout session: what is to be done when the customer pays."""
    session_of: dict[str, str] = field(default_factory=dict)
    """By payment intent: the checkout session that it pays for."""
    settles_at: dict[str, int] = field(default_factory=dict)
    """By payment intent: when a bank debit settles by itself."""
    failing_charges: dict[str, OrderedFailures] = field(default_factory=dict)
    """By customer: how the next charges without the customer present are to fail."""
    set_up: set[str] = field(default_factory=set)
    """Payment methods that were authenticated for charges to come."""
    detached: set[str] = field(default_factory=set)
    """Payment methods that were taken off a customer and cannot be used again."""
    deleted_customers: set[str] = field(default_factory=set)
    overdue: set[str] = field(default_factory=set)
    """Invoices that have been said to be overdue."""
    invoice_counts: dict[str, int] = field(default_factory=dict)
    """By customer: how many invoices have been numbered."""


class Sandbox:
    """State of one sandbox process. Operations are synchronous, so each one is atomic."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store()
        self.clock = Clock(self.store)
        self.events = EventLog(self.store, self.clock, settings.api_version)
        self.faults = Faults()
        self.endpoints = Endpoints(self.store)
        self.keys = IdempotencyKeys()
        self.hidden = Hidden()
        self.deliveries = Deliveries(
            self.endpoints,
            lambda: self.faults,
            time_factor=settings.time_factor,
            timeout=settings.delivery_timeout,
            concurrency=settings.delivery_concurrency,
        )

    def url(self, path: str) -> str:
        return f"{self.settings.base_url}{path}"

    def emit(self, type: str, obj: Obj, before: Obj | None = None) -> Obj:
        """Log an event; see `EventLog.emit`."""
        return self.events.emit(type, obj, before)

    def caused_by(self, cause: Cause) -> None:
        self.events.cause = cause

    async def deliver_before_answer(self) -> list[Delivery]:
        """Note the deliveries of what just happened; attempts them at once where that fault is in force.

        Returns what is left to hand over to `deliveries.send` after the answer has gone out.
        """
        noted = self.deliveries.expect(self.events.take())
        if not self.faults.before_answer:
            return noted
        await asyncio.shield(self.deliveries.send_now(noted))
        return []

    def deliver(self) -> None:
        """Send what just happened, where there is no answer to wait for."""
        self.deliveries.send(self.deliveries.expect(self.events.take()))


def copy_of(obj: Obj) -> Obj:
    """The object as it is now, to compare with later."""
    copied: Obj = clone(obj)
    return copied
