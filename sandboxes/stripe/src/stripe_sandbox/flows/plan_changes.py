"""Other prices or quantities for a running subscription: what is prorated, and what is charged at once."""

from dataclasses import dataclass

from stripe_sandbox.errors import card_error
from stripe_sandbox.flows import collecting, invoicing, payment_methods, proration, settlement, subscribing
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


@dataclass(frozen=True)
class Terms:
    """How a request wants its change to be billed. `at` is the moment that prorations count from, in Unix seconds."""

    behavior: str
    """create_prorations, always_invoice or none."""
    payment: str
    """allow_incomplete, default_incomplete or error_if_incomplete."""
    at: int
    anchor_now: bool = False


def change(sandbox: Sandbox, subscription: Obj, items: list[Obj], terms: Terms, before: Obj) -> None:
    """Put new items in place, bill them, and say customer.subscription.updated (with `before`) ahead of all that.

    A new interval begins a new period now, which is charged at once; so is an `always_invoice` change. Anything else
    waits as invoice items for the next invoice. Raises a 402 for error_if_incomplete before anything has changed.
    """
    old = subscription["items"]["data"]
    running = subscription["status"] not in ("trialing", "incomplete", "paused")
    new_cycle = running and (terms.anchor_now or proration.interval(old[0]) != proration.interval(items[0]))
    at_once = new_cycle or (running and terms.behavior == "always_invoice")
    if at_once and terms.payment == "error_if_incomplete":
        _require_payable(sandbox, subscription)
    with sandbox.events.held() as held:
        made: list[Obj] = []
        if running and terms.behavior != "none":
            made = proration.settle(sandbox, subscription, old, items, terms.at, charge_new=not new_cycle)
        subscription["items"]["data"] = items
        invoice = None
        if new_cycle:
            _begin_cycle(sandbox, subscription)
            invoice = subscribing.draft_invoice(sandbox, subscription, "subscription_update", auto_advance=True)
        elif at_once and made:
            invoice = subscribing.draft_prorations(sandbox, subscription, made)
        if before != subscription:
            held.first("customer.subscription.updated", subscription, before)
    if invoice is not None:
        _bill(sandbox, subscription, invoice, terms)


def _begin_cycle(sandbox: Sandbox, subscription: Obj) -> None:
    now = sandbox.clock.now_for(subscription["customer"])
    subscription["billing_cycle_anchor"] = now
    subscribing.set_period(subscription, now, now)
    subscribing.roll(subscription)
    if subscription["cancel_at_period_end"]:
        subscription["cancel_at"] = subscribing.period(subscription)[1]


def _bill(sandbox: Sandbox, subscription: Obj, invoice: Obj, terms: Terms) -> None:
    if terms.payment != "default_incomplete":
        collecting.finalize_and_collect(sandbox, invoice)
        return
    invoicing.finalize(sandbox, invoice)
    if invoice["status"] == "open" and subscription["status"] == "active":
        subscribing.change_status(sandbox, subscription, "past_due")


def _require_payable(sandbox: Sandbox, subscription: Obj) -> None:
    own = subscription["default_payment_method"]
    method = sandbox.store.find(own) if own else payment_methods.default_of(sandbox, subscription["customer"])
    if method is None:
        raise card_error("This customer has no default payment method.", code="missing")
    refused = settlement.refusal(sandbox, subscription["customer"], method, present=False)
    if refused is not None:
        raise card_error(refused.message, code=refused.code, decline_code=refused.decline_code)
