"""Charging an invoice that is collected automatically."""

from stripe_sandbox.flows import dunning, invoicing, payment_methods, settlement, subscribing
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


def collect(sandbox: Sandbox, invoice: Obj, *, method: Obj | None = None, present: bool = False) -> None:
    """Try to charge an open invoice once, with the given payment method or the default one."""
    intent = invoicing.intent_of(sandbox, invoice)
    if intent is None or intent["status"] == "processing":
        return
    method = method or default_method(sandbox, invoice)
    if method is None:
        dunning.attempt_failed(sandbox, invoice)
        return
    settlement.attempt(sandbox, intent, method, present=present, return_url=invoice["hosted_invoice_url"])


def finalize_and_collect(sandbox: Sandbox, invoice: Obj) -> None:
    """What `auto_advance` does when a draft's hour is over."""
    invoicing.finalize(sandbox, invoice)
    if invoice["status"] != "open":
        return
    if invoice["collection_method"] == "charge_automatically":
        collect(sandbox, invoice)
    else:
        sandbox.emit("invoice.sent", invoice)


def default_method(sandbox: Sandbox, invoice: Obj) -> Obj | None:
    """The invoice's own payment method, else its subscription's, else the customer's."""
    subscription = subscribing.subscription_of(sandbox, invoice)
    for holder in (invoice, subscription):
        if holder is not None and holder["default_payment_method"]:
            return sandbox.store.find(holder["default_payment_method"])
    return payment_methods.default_of(sandbox, invoice["customer"])
