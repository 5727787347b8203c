"""Automatic collection of invoices."""

from __future__ import annotations

from stripe_sandbox.flows import dunning, invoices, payment_methods, settlement, subscriptions
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


def collect(sandbox: Sandbox, invoice: Obj, *, method: Obj | None = None, on_session: bool = False) -> None:
    """Attempts to charge an open invoice with the given or default payment method.

    `on_session`: the customer is on the invoice's page. Otherwise required 3-D Secure is a failed attempt, which the
    customer can complete on that page; see `dunning.action_required`.
    """
    intent = invoices.intent_of(sandbox, invoice)
    if intent is None or intent["status"] == "processing":
        return
    method = method or default_method(sandbox, invoice)
    if method is None:
        dunning.attempt_failed(sandbox, invoice)
        return
    settlement.attempt(sandbox, intent, method, on_session=on_session, return_url=invoice["hosted_invoice_url"])


def finalize_and_collect(sandbox: Sandbox, invoice: Obj) -> None:
    """What `auto_advance` does at the end of the draft period: finalizes, then charges or sends."""
    invoices.finalize(sandbox, invoice)
    if invoice["status"] != "open":
        return
    if invoice["collection_method"] == "charge_automatically":
        collect(sandbox, invoice)
    else:
        sandbox.emit("invoice.sent", invoice)


def default_method(sandbox: Sandbox, invoice: Obj) -> Obj | None:
    """The default payment method of the invoice, its subscription or the customer, in this order."""
    subscription = subscriptions.subscription_of(sandbox, invoice)
    for holder in (invoice, subscription):
        if holder is not None and holder["default_payment_method"]:
            return sandbox.store.find(holder["default_payment_method"])
    return payment_methods.default_of(sandbox, invoice["customer"])
