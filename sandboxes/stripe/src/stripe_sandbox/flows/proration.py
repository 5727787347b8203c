"""Proration by the second: credits for unused time and charges for remaining time, in minor units.

In flexible billing mode, a credit is a share of what was debited for the item, after discounts; in classic mode, of its
list price (docs.stripe.com/billing/subscriptions/billing-mode/compare).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import stripe

from stripe_sandbox.flows import invoice_lines
from stripe_sandbox.flows.taxes import portion
from stripe_sandbox.shapes import part
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


def interval(entry: Obj) -> tuple[str, int]:
    """(interval, count) of a subscription item's price."""
    recurring = entry["price"]["recurring"]
    return recurring["interval"], recurring["interval_count"]


def prorate(
    sandbox: Sandbox, subscription: Obj, old: list[Obj], new: list[Obj], at: int, *, charge_new: bool
) -> list[Obj]:
    """Creates invoice items for the changed subscription items. Emits invoiceitem.created for each.

    `charge_new` is false if a new period starts: the new items are then charged in full.
    """
    unchanged = {_terms(entry) for entry in old} & {_terms(entry) for entry in new} if charge_new else set()
    created = [
        _item(sandbox, subscription, entry, at, entry, credit=True) for entry in old if _terms(entry) not in unchanged
    ]
    if charge_new:
        created += [
            _item(sandbox, subscription, entry, at, old[0], credit=False)
            for entry in new
            if _terms(entry) not in unchanged
        ]
    return created


def _terms(entry: Obj) -> tuple[str, str, int]:
    return entry["id"], entry["price"]["id"], entry["quantity"]


def _item(sandbox: Sandbox, subscription: Obj, entry: Obj, at: int, timing: Obj, *, credit: bool) -> Obj:
    """A credit or charge for the remaining period of `timing` (a subscription item)."""
    end = timing["current_period_end"]
    price, quantity = entry["price"], entry["quantity"] or 1
    full, start = (price["unit_amount"] or 0) * quantity, timing["current_period_start"]
    if credit and subscription["billing_mode"]["type"] == "flexible":
        for amount, begin in _debits(sandbox, subscription, entry):  # the last one is that of the current price
            full, start = amount, begin
    left = min(max(end - at, 0), end - start)
    amount = portion(full, left, end - start)
    product = sandbox.store.find(price["product"])
    day = datetime.fromtimestamp(at, UTC).strftime("%d %b %Y")
    times = f"{quantity} × " if quantity > 1 else ""
    created = invoice_lines.invoice_item(
        sandbox,
        customer=subscription["customer"],
        amount=-amount if credit else amount,
        currency=price["currency"],
        description=f"{'Unused' if credit else 'Remaining'} time on {times}"
        f"{product['name'] if product else price['id']} after {day}",
        discountable=not credit,
        parent={
            "type": "subscription_details",
            "subscription_details": {"subscription": subscription["id"], "subscription_item": entry["id"]},
        },
        period={"start": at, "end": end},
        pricing=invoice_lines.pricing_of(price),
        proration=True,
        proration_details=part(stripe.InvoiceItem.ProrationDetails, discount_amounts=[]),
        quantity=quantity,
    )
    sandbox.emit("invoiceitem.created", created)
    return created


def _debits(sandbox: Sandbox, subscription: Obj, entry: Obj) -> Iterator[tuple[int, int]]:
    """(amount after discounts, start) of each debit for an item in its current period, oldest first."""
    for invoice in sandbox.store.where("invoice", customer=subscription["customer"]):
        for line in invoice["lines"]["data"] if invoice["status"] != "void" else []:
            if _is_debit_of(sandbox, line, entry):
                yield invoice_lines.net_amount(invoice, line), line["period"]["start"]
    for item in sandbox.store.where("invoiceitem", customer=subscription["customer"], invoice=None):
        if item["amount"] >= 0 and _is_for(item["parent"], entry) and item["period"]["end"] == _end(entry):
            yield item["amount"], item["period"]["start"]


def _is_debit_of(sandbox: Sandbox, line: Obj, entry: Obj) -> bool:
    details = line["parent"]["subscription_item_details"]
    item = invoice_lines.item_of(sandbox, line)
    if details is None and (item is None or not _is_for(item["parent"], entry)):
        return False
    if details is not None and details["subscription_item"] != entry["id"]:
        return False
    return bool(line["amount"] >= 0 and line["period"]["end"] == _end(entry))


def _is_for(parent: Obj | None, entry: Obj) -> bool:
    details = (parent or {}).get("subscription_details") or {}
    return bool(details.get("subscription_item") == entry["id"])


def _end(entry: Obj) -> int:
    return int(entry["current_period_end"])
