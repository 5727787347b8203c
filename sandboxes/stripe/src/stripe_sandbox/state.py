"""The state of a sandbox. Every operation gets it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
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
class ForcedFailures:
    """The number of charges still to decline, and the decline code."""

    remaining: int
    decline_code: str = "generic_decline"


@dataclass
class InternalState:
    """State that Stripe keeps but its API does not expose."""

    instruments: dict[str, Instrument] = field(default_factory=dict)
    """payment method -> behavior when charged"""
    checkouts: dict[str, CheckoutPlan] = field(default_factory=dict)
    """checkout session -> what to create when the customer pays"""
    session_of: dict[str, str] = field(default_factory=dict)
    """payment intent -> its checkout session"""
    settles_at: dict[str, int] = field(default_factory=dict)
    """payment intent -> when its bank debit settles automatically"""
    failing_charges: dict[str, ForcedFailures] = field(default_factory=dict)
    """customer -> declines to force on the next off-session charges"""
    failing_finalizations: dict[str, tuple[str, str]] = field(default_factory=dict)
    """customer -> code and message with which the next finalization of an invoice fails"""
    set_up: set[str] = field(default_factory=set)
    """Payment methods authenticated for off-session charges."""
    detached: set[str] = field(default_factory=set)
    """Detached payment methods; they cannot be used again."""
    deleted_customers: set[str] = field(default_factory=set)
    action_required: set[str] = field(default_factory=set)
    """Intents of invoices whose current attempt is counted as failed because it requires authentication."""
    overdue: set[str] = field(default_factory=set)
    """Invoices with an `invoice.overdue` event."""
    own_endpoint: str | None = None
    """The webhook endpoint of the settings."""
    invoice_counts: dict[str, int] = field(default_factory=dict)
    """customer -> number of finalized invoices"""


class Sandbox:
    """One sandbox. Operations are synchronous, so each is atomic."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store()
        self.clock = Clock(self.store)
        self.events = EventLog(self.store, self.clock, settings.api_version)
        self.faults = Faults()
        self._faults_replaced = asyncio.Event()
        self.endpoints = Endpoints(self.store)
        self.keys = IdempotencyKeys()
        self.internal = InternalState()
        self.deliveries = Deliveries(
            self.endpoints,
            lambda: self.faults,
            time_factor=settings.time_factor,
            timeout=settings.delivery_timeout,
            concurrency=settings.delivery_concurrency,
        )

        self.save: Callable[[], None] = lambda: None
        """Saves the state, if there is a file; see `state_file`."""

    def url(self, path: str) -> str:
        return f"{self.settings.base_url}{path}"

    def emit(self, type: str, obj: Obj, before: Obj | None = None) -> Obj:
        """Logs an event; see `EventLog.emit`."""
        return self.events.emit(type, obj, before)

    def replace_faults(self, faults: Faults) -> None:
        """Puts these faults in force, and ends the delays of the ones before."""
        self.faults = faults
        self._faults_replaced.set()
        self._faults_replaced = asyncio.Event()

    async def delay_response(self) -> None:
        """Waits for `api_delay_seconds`, but not longer than until the faults are replaced."""
        if not self.faults.api_delay_seconds:
            return
        seconds = self.faults.api_delay_seconds / self.settings.time_factor
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._faults_replaced.wait(), seconds)

    def set_cause(self, cause: Cause) -> None:
        self.events.cause = cause

    async def deliver_before_response(self) -> list[Delivery]:
        """Creates the deliveries of new events, and attempts them now if `before_answer` is in force.

        Returns those to pass to `deliveries.send` after the response.
        """
        created = self.deliveries.create(self.events.take())
        if not self.faults.before_answer:
            return created
        await asyncio.shield(self.deliveries.send_now(created))
        return []

    def deliver(self) -> None:
        """Sends new events that no request caused."""
        self.deliveries.send(self.deliveries.create(self.events.take()))


def copy_of(obj: Obj) -> Obj:
    """A copy of the current state, to compare with later."""
    copied: Obj = clone(obj)
    return copied
