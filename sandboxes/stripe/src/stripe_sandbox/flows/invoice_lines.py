"""Lines of invoices, and the invoice items that they are made of."""

from __future__ import annotations

from typing import Any

import stripe

from stripe_sandbox.flows import taxes
from stripe_sandbox.ids import new_id
from stripe_sandbox.shapes import build
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


def line(
    *, amount: int, currency: str, description: str | None, quantity: int, price: Obj | None, parent: Obj, period: Obj
) -> Obj:
    """A line item. `amount` is for the whole quantity."""
    details = parent["subscription_item_details"] or parent["invoice_item_details"]
    return build(
        stripe.InvoiceLineItem,
        id=new_id("il"),
        amount=amount,
        currency=currency,
        description=description,
        discount_amounts=[],
        discountable=True,
        discounts=[],
        metadata={},
        parent=parent,
        period=period,
        pretax_credit_amounts=[],
        pricing=price and pricing_of(price),
        quantity=quantity,
        subscription=details["subscription"],
        subtotal=amount,
        taxes=[],
    )


def pricing_of(price: Obj) -> Obj:
    """`pricing` of an invoice item or line item."""
    return {
        "type": "price_details",
        "price_details": {"price": price["id"], "product": price["product"]},
        "unit_amount_decimal": str(price["unit_amount"]),
    }


def net_amount(invoice: Obj, line: Obj) -> int:
    """The amount of a line less its share of the invoice's discounts."""
    discountable = sum(other["amount"] for other in invoice["lines"]["data"] if other["discountable"])
    off = sum(entry["amount"] for entry in invoice["total_discount_amounts"])
    share = taxes.portion(off, line["amount"], discountable) if line["discountable"] and discountable else 0
    return int(line["amount"]) - share


def item_of(sandbox: Sandbox, line: Obj) -> Obj | None:
    """The invoice item of a line, if any."""
    details = line["parent"]["invoice_item_details"]
    return sandbox.store.find(details["invoice_item"]) if details else None


def item_line(item: Obj, price: Obj | None = None) -> Obj:
    """The line for an invoice item."""
    details = {
        "invoice_item": item["id"],
        "proration": item["proration"],
        "proration_details": {"credited_items": None} if item["proration"] else None,
        "subscription": item["parent"]["subscription_details"]["subscription"] if item["parent"] else None,
    }
    parent = {"type": "invoice_item_details", "invoice_item_details": details, "subscription_item_details": None}
    created = line(
        amount=item["amount"],
        currency=item["currency"],
        description=item["description"],
        quantity=item["quantity"],
        price=price,
        parent=parent,
        period=dict(item["period"]),
    )
    if price is None:
        created["pricing"] = item["pricing"]
    created.update(metadata=dict(item["metadata"]), discountable=item["discountable"])
    return created


def invoice_item(sandbox: Sandbox, *, customer: str, amount: int, currency: str, **values: Any) -> Obj:
    """Creates an invoice item. `values`: invoice, description, quantity, metadata, pricing, period."""
    now = sandbox.clock.now_for(customer)
    values = {
        "discountable": True,
        "metadata": {},
        "parent": None,
        "period": {"start": now, "end": now},
        "proration": False,
        "quantity": 1,
        **values,
    }
    return sandbox.store.add(
        build(
            stripe.InvoiceItem,
            id=new_id("ii"),
            amount=amount,
            currency=currency,
            customer=customer,
            date=now,
            discounts=[],
            net_amount=amount,
            quantity_decimal=str(values["quantity"]),
            tax_rates=[],
            test_clock=sandbox.clock.test_clock_of(customer),
            **values,
        )
    )
