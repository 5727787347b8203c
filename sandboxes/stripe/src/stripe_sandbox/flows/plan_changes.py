"""Changes of the items of a subscription: proration and immediate invoices."""

from __future__ import annotations

from dataclasses import dataclass

from stripe_sandbox.errors import card_error
from stripe_sandbox.flows import collection, invoices, payment_methods, proration, settlement, subscriptions
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


@dataclass(frozen=True)
class Terms:
    """How a change is billed. `at` is the start of prorations in Unix seconds."""

    behavior: str
    """create_prorations, always_invoice or none."""
    payment: str
    """allow_incomplete, default_incomplete or error_if_incomplete."""
    at: int
    anchor_now: bool = False


def change(sandbox: Sandbox, subscription: Obj, items: list[Obj], terms: Terms, before: Obj) -> None:
    """Replaces the items and bills the change. Emits customer.subscription.updated (with `before`) first.

    A new interval starts a new period now and is invoiced immediately, like an `always_invoice` change. Other changes
    create pending invoice items. `error_if_incomplete` raises a 402 before any change.
    """
    old = subscription["items"]["data"]
    running = subscription["status"] not in ("trialing", "incomplete", "paused")
    new_cycle = running and (terms.anchor_now or proration.interval(old[0]) != proration.interval(items[0]))
    immediate = new_cycle or (running and terms.behavior == "always_invoice")
    if immediate and terms.payment == "error_if_incomplete":
        _require_payable(sandbox, subscription)
    mark = sandbox.events.mark()
    prorations: list[Obj] = []
    if running and terms.behavior != "none":
        prorations = proration.prorate(sandbox, subscription, old, items, terms.at, charge_new=not new_cycle)
    subscription["items"]["data"] = items
    invoice = None
    if new_cycle:
        _start_new_period(sandbox, subscription)
        invoice = subscriptions.draft_invoice(sandbox, subscription, "subscription_update", auto_advance=True)
    elif immediate and prorations:
        invoice = subscriptions.draft_prorations(sandbox, subscription, prorations)
    if before != subscription:
        mark.emit("customer.subscription.updated", subscription, before)
    if invoice is not None:
        _bill(sandbox, subscription, invoice, terms)


def _start_new_period(sandbox: Sandbox, subscription: Obj) -> None:
    now = sandbox.clock.now_for(subscription["customer"])
    subscription["billing_cycle_anchor"] = now
    subscriptions.set_period(subscription, now, now)
    subscriptions.advance_period(subscription)
    if subscription["cancel_at_period_end"]:
        subscription["cancel_at"] = subscriptions.period(subscription)[1]


def _bill(sandbox: Sandbox, subscription: Obj, invoice: Obj, terms: Terms) -> None:
    if terms.payment != "default_incomplete":
        collection.finalize_and_collect(sandbox, invoice)
        return
    invoices.finalize(sandbox, invoice)
    if invoice["status"] == "open" and subscription["status"] == "active":
        subscriptions.change_status(sandbox, subscription, "past_due")


def _require_payable(sandbox: Sandbox, subscription: Obj) -> None:
    own = subscription["default_payment_method"]
    method = sandbox.store.find(own) if own else payment_methods.default_of(sandbox, subscription["customer"])
    if method is None:
        raise card_error("This customer has no default payment method.", code="missing")
    decline = settlement.expected_decline(sandbox, subscription["customer"], method, on_session=False)
    if decline is not None:
        raise card_error(decline.message, code=decline.code, decline_code=decline.decline_code)
