"""The customer credit balance: credit (negative) or debt, applied to the next invoice."""

from __future__ import annotations

import stripe

from stripe_sandbox.amounts import minimum_charge
from stripe_sandbox.ids import new_id
from stripe_sandbox.shapes import build
from stripe_sandbox.state import Sandbox, copy_of
from stripe_sandbox.store import Obj


def post(
    sandbox: Sandbox,
    customer: Obj,
    amount: int,
    type: str,
    *,
    currency: str,
    invoice: str | None = None,
    description: str | None = None,
    metadata: dict[str, str] | None = None,
) -> Obj:
    """Changes the balance by `amount` minor units (negative is credit). Emits customer.updated."""
    before = copy_of(customer)
    customer["balance"] += amount
    entry = build(
        stripe.CustomerBalanceTransaction,
        id=new_id("cbtxn"),
        amount=amount,
        created=sandbox.clock.now_for(customer["id"]),
        currency=currency,
        customer=customer["id"],
        description=description,
        ending_balance=customer["balance"],
        invoice=invoice,
        metadata=metadata or {},
        type=type,
    )
    sandbox.emit("customer.updated", customer, before)
    return sandbox.store.add(entry)


def apply(sandbox: Sandbox, invoice: Obj) -> None:
    """Applies the balance to an invoice at finalization. A negative total becomes credit."""
    customer = sandbox.store.get("customer", invoice["customer"])
    starting, total = customer["balance"], invoice["total"]
    if total < 0:
        used = total
    elif starting < 0:
        used = min(total, -starting)
    else:
        used = -starting if total else 0
    if used:
        post(sandbox, customer, used, "applied_to_invoice", currency=invoice["currency"], invoice=invoice["id"])
    due = max(0, total - used)
    invoice.update(starting_balance=starting, ending_balance=customer["balance"], amount_due=due, amount_remaining=due)


def defer_small_amount(sandbox: Sandbox, invoice: Obj) -> None:
    """Moves an amount below the minimum charge to the next invoice (docs.stripe.com/billing/customer/balance#types)."""
    due = invoice["amount_due"]
    if invoice["collection_method"] == "charge_automatically" and 0 < due < minimum_charge(invoice["currency"]):
        customer = sandbox.store.get("customer", invoice["customer"])
        post(sandbox, customer, due, "invoice_too_small", currency=invoice["currency"], invoice=invoice["id"])
        invoice.update(ending_balance=customer["balance"], amount_due=0, amount_remaining=0)


def unapply(sandbox: Sandbox, invoice: Obj) -> None:
    """Reverts `apply` for a voided invoice."""
    used = (invoice["ending_balance"] or 0) - invoice["starting_balance"]
    if used:
        customer = sandbox.store.get("customer", invoice["customer"])
        post(sandbox, customer, -used, "unapplied_from_invoice", currency=invoice["currency"], invoice=invoice["id"])
