"""Customers, created through the API or by a checkout session."""

from __future__ import annotations

from typing import Any

import stripe

from stripe_sandbox.flows import subscription_schedules, subscriptions
from stripe_sandbox.flows.invoices import invoice_prefix
from stripe_sandbox.ids import new_id
from stripe_sandbox.shapes import build, part
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


def create_customer(sandbox: Sandbox, **values: Any) -> Obj:
    """Creates a customer. Emits customer.created."""
    values = {"metadata": {}, "test_clock": None, "tax_exempt": "none", "preferred_locales": [], **values}
    customer = build(
        stripe.Customer,
        id=new_id("cus", 14),
        balance=0,
        created=sandbox.clock.now(values["test_clock"]),
        delinquent=False,
        invoice_prefix=invoice_prefix(),
        invoice_settings=part(stripe.Customer.InvoiceSettings),
        next_invoice_sequence=1,
        **values,
    )
    sandbox.store.add(customer)
    sandbox.emit("customer.created", customer)
    return customer


def delete(sandbox: Sandbox, customer: Obj) -> None:
    """Deletes a customer, cancels their subscriptions and stops collecting their invoices. Emits customer.deleted."""
    for subscription in list(sandbox.store.where("subscription", customer=customer["id"])):
        if subscription["status"] in subscriptions.LIVE:
            subscriptions.cancel(sandbox, subscription)
            subscription_schedules.end_with_subscription(sandbox, subscription, delinquent=False)
    for invoice in sandbox.store.where("invoice", customer=customer["id"]):
        invoice.update(auto_advance=False, automatically_finalizes_at=None, next_payment_attempt=None)
    sandbox.store.remove(customer)
    sandbox.internal.deleted_customers.add(customer["id"])
    sandbox.emit("customer.deleted", customer)
