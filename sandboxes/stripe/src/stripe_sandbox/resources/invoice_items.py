"""/v1/invoiceitems"""

from __future__ import annotations

import stripe.params as p

from stripe_sandbox.errors import StripeError, missing_param
from stripe_sandbox.flows import invoice_lines, invoices, prices
from stripe_sandbox.operation import Call, Operation, retrieve
from stripe_sandbox.paging import matching, page
from stripe_sandbox.params import merge_metadata
from stripe_sandbox.state import copy_of
from stripe_sandbox.store import Obj


def create(call: Call) -> Obj:
    params, sandbox = call.params, call.sandbox
    if "customer" not in params:
        raise missing_param("customer")
    sandbox.store.param("customer", params["customer"], "customer")
    invoice = sandbox.store.param("invoice", params["invoice"], "invoice") if "invoice" in params else None
    if invoice is not None and invoice["status"] != "draft":
        raise StripeError("The invoice is no longer a draft, so items cannot be added to it.", param="invoice")
    amount, currency, price = _amount(call)
    item = invoice_lines.invoice_item(
        sandbox,
        customer=params["customer"],
        amount=amount,
        currency=currency,
        description=params.get("description") or (price and sandbox.store.get("product", price["product"])["name"]),
        invoice=invoice["id"] if invoice else None,
        metadata=merge_metadata({}, params.get("metadata")),
        quantity=params.get("quantity", 1),
        pricing=price and invoice_lines.pricing_of(price),
        **({"period": params["period"]} if "period" in params else {}),
    )
    sandbox.emit("invoiceitem.created", item)
    if invoice is not None:
        before = copy_of(invoice)
        invoices.add_lines(sandbox, invoice, [invoice_lines.item_line(item, price)])
        sandbox.emit("invoice.updated", invoice, before)
    return item


def update(call: Call) -> Obj:
    """Updates amount, description and metadata of an item that is pending or on a draft."""
    item, params = call.sandbox.store.get("invoiceitem", call.id), call.params
    invoice = _draft_of(call, item)
    item.update({name: params[name] for name in ("amount", "description") if name in params})
    item["net_amount"] = item["amount"]
    if "metadata" in params:
        item["metadata"] = merge_metadata(item["metadata"], params["metadata"])
    if invoice is not None:
        before = copy_of(invoice)
        line = next(line for line in invoice["lines"]["data"] if invoice_lines.item_of(call.sandbox, line) is item)
        line.update(
            amount=item["amount"],
            subtotal=item["amount"],
            description=item["description"],
            metadata=dict(item["metadata"]),
        )
        invoices.recompute_totals(call.sandbox, invoice)
        call.sandbox.emit("invoice.updated", invoice, before)
    return item


def delete(call: Call) -> Obj:
    sandbox = call.sandbox
    item = sandbox.store.get("invoiceitem", call.id)
    if (invoice := _draft_of(call, item)) is not None:
        before = copy_of(invoice)
        lines = invoice["lines"]["data"]
        invoice["lines"]["data"] = [line for line in lines if invoice_lines.item_of(sandbox, line) is not item]
        invoices.recompute_totals(sandbox, invoice)
        sandbox.emit("invoice.updated", invoice, before)
    sandbox.store.remove(item)
    sandbox.emit("invoiceitem.deleted", item)
    return {"id": call.id, "object": "invoiceitem", "deleted": True}


def list_all(call: Call) -> Obj:
    created = [{**item, "created": item["date"]} for item in call.sandbox.store.all("invoiceitem")]
    found = matching(created, call.params, "customer", "invoice")
    if "pending" in call.params:
        found = [item for item in found if (item["invoice"] is None) == call.params["pending"]]
    kept = [call.sandbox.store.get("invoiceitem", item["id"]) for item in found]
    return page(call, kept, "/v1/invoiceitems")


def _draft_of(call: Call, item: Obj) -> Obj | None:
    """The draft of an item; None if it is pending. Raises if its invoice is finalized."""
    invoice = call.sandbox.store.find(item["invoice"]) if item["invoice"] else None
    if invoice is not None and invoice["status"] != "draft":
        raise StripeError("The invoice is no longer a draft, so its items cannot be changed.")
    return invoice


def _amount(call: Call) -> tuple[int, str, Obj | None]:
    """(amount for the whole quantity, currency, price or None)"""
    params, quantity = call.params, call.params.get("quantity", 1)
    if "amount" in params:
        return params["amount"], prices.check_currency(params.get("currency", "usd")), None
    given = {"price_data": params["price_data"]} if "price_data" in params else params.get("pricing") or {}
    if not given:
        raise missing_param("amount")
    price = prices.resolve(call.sandbox, given, "pricing" if "price" in given else "price_data")
    return (price["unit_amount"] or 0) * quantity, price["currency"], price


OPERATIONS = [
    Operation("POST", "/v1/invoiceitems", p.InvoiceItemCreateParams, create),
    Operation("GET", "/v1/invoiceitems", p.InvoiceItemListParams, list_all),
    Operation("GET", "/v1/invoiceitems/{id}", p.InvoiceItemRetrieveParams, retrieve("invoiceitem")),
    Operation("POST", "/v1/invoiceitems/{id}", p.InvoiceItemUpdateParams, update),
    Operation("DELETE", "/v1/invoiceitems/{id}", p.InvoiceItemDeleteParams, delete),
]
