"""/v1/invoices"""

from __future__ import annotations

from typing import Any

import stripe
import stripe.params as p

from stripe_sandbox.errors import StripeError, missing_param
from stripe_sandbox.expansion import ON_REQUEST
from stripe_sandbox.flows import (
    collection,
    discounts,
    invoice_lines,
    invoices,
    payment_methods,
    payments,
    subscriptions,
    taxes,
)
from stripe_sandbox.flows.prices import check_currency
from stripe_sandbox.operation import Call, Operation, retrieve
from stripe_sandbox.paging import matching, page
from stripe_sandbox.params import Params, merge_metadata
from stripe_sandbox.rules.invoices import ACTION_REQUIRED
from stripe_sandbox.shapes import part
from stripe_sandbox.state import Sandbox, copy_of
from stripe_sandbox.store import Obj

_TEXT = ("description", "footer", "custom_fields", "statement_descriptor", "default_payment_method")


def create(call: Call) -> Obj:
    params, sandbox = call.params, call.sandbox
    if "customer" not in params:
        raise missing_param("customer")
    customer = sandbox.store.param("customer", params["customer"], "customer")
    collection_method = params.get("collection_method", "charge_automatically")
    pending = []
    if params.get("pending_invoice_items_behavior") == "include":
        pending = list(sandbox.store.where("invoiceitem", customer=customer["id"], invoice=None))
    values: dict[str, Any] = {name: params[name] or None for name in (*_TEXT, "due_date") if name in params}
    invoice = invoices.draft(
        sandbox,
        customer=customer["id"],
        currency=check_currency(params.get("currency", "usd")),
        lines=[invoice_lines.item_line(item) for item in pending],
        auto_advance=params.get("auto_advance", False),
        collection_method=collection_method,
        days_until_due=params.get("days_until_due"),
        metadata=merge_metadata({}, params.get("metadata")),
        automatic_tax=taxes.setting(stripe.Invoice.AutomaticTax, params.get("automatic_tax")),
        discounts=_discounts(call, customer["id"]),
        payment_settings=_payment_settings(params),
        **values,
    )
    if invoice["auto_advance"]:
        invoice["automatically_finalizes_at"] = invoice["created"] + sandbox.settings.invoice_finalization_seconds
    return invoice


def update(call: Call) -> Obj:
    invoice = call.sandbox.store.get("invoice", call.id)
    before = copy_of(invoice)
    invoice.update({name: call.params[name] or None for name in _TEXT if name in call.params})
    if "metadata" in call.params:
        invoice["metadata"] = merge_metadata(invoice["metadata"], call.params["metadata"])
    if "automatic_tax" in call.params or "discounts" in call.params:
        _require(invoice, "draft", "changed", code="invoice_not_editable")
        if "automatic_tax" in call.params:
            invoice["automatic_tax"] = taxes.setting(stripe.Invoice.AutomaticTax, call.params["automatic_tax"])
        if "discounts" in call.params:
            invoice["discounts"] = _discounts(call, invoice["customer"])
        invoices.recompute_totals(call.sandbox, invoice)
    if "auto_advance" in call.params:
        invoice["auto_advance"] = call.params["auto_advance"]
    if before != invoice:
        call.sandbox.emit("invoice.updated", invoice, before)
    return invoice


def delete(call: Call) -> Obj:
    invoice = call.sandbox.store.get("invoice", call.id)
    _require(invoice, "draft", "deleted")
    call.sandbox.store.remove(invoice)
    call.sandbox.emit("invoice.deleted", invoice)
    return {"id": call.id, "object": "invoice", "deleted": True}


def finalize(call: Call) -> Obj:
    invoice = call.sandbox.store.get("invoice", call.id)
    _require(invoice, "draft", "finalized", code="invoice_not_editable")
    advance = call.params.get("auto_advance", invoice["auto_advance"])
    if advance and invoice["collection_method"] == "charge_automatically":
        collection.finalize_and_collect(call.sandbox, invoice)
    else:
        invoices.finalize(call.sandbox, invoice)
    return invoice


def send(call: Call) -> Obj:
    """Finalizes a draft first. Only emits invoice.sent; the sandbox sends no email."""
    invoice = call.sandbox.store.get("invoice", call.id)
    if invoice["collection_method"] != "send_invoice":
        raise StripeError("You can only manually send an invoice if its collection method is 'send_invoice'.")
    if invoice["status"] == "draft":
        invoices.finalize(call.sandbox, invoice)
    elif invoice["status"] != "open":
        raise StripeError(f"The invoice is {invoice['status']}, so it cannot be sent.")
    call.sandbox.emit("invoice.sent", invoice)
    return invoice


def pay(call: Call) -> Obj:
    """Charges now, or marks the invoice paid out of band.

    A decline or required authentication is a 402. A bank debit leaves the invoice open until it settles.
    """
    sandbox, invoice = call.sandbox, call.sandbox.store.get("invoice", call.id)
    if invoice["status"] == "draft":
        invoices.finalize(sandbox, invoice)
    if invoice["status"] not in ("open", "uncollectible", "paid"):
        raise StripeError(f"The invoice is {invoice['status']}, so it cannot be paid.")
    if call.params.get("paid_out_of_band"):
        invoices.pay_out_of_band(sandbox, invoice)
        if (subscription := subscriptions.subscription_of(sandbox, invoice)) is not None:
            subscriptions.activate_if_paid_up(sandbox, subscription)
    elif invoice["status"] != "paid":
        _charge(call, invoice)
    return invoice


def void(call: Call) -> Obj:
    invoice = call.sandbox.store.get("invoice", call.id)
    if invoice["status"] != "uncollectible":
        _require(invoice, "open", "voided")
    invoices.void(call.sandbox, invoice)
    return invoice


def mark_uncollectible(call: Call) -> Obj:
    invoice = call.sandbox.store.get("invoice", call.id)
    _require(invoice, "open", "marked uncollectible")
    invoices.mark_uncollectible(call.sandbox, invoice)
    return invoice


def confirmation_secret(sandbox: Sandbox, invoice: Obj) -> Obj | None:
    """The client secret to confirm the payment of an invoice in a front end."""
    intent = invoices.intent_of(sandbox, invoice)
    return {"client_secret": intent["client_secret"], "type": "payment_intent"} if intent else None


def list_all(call: Call) -> Obj:
    found = matching(call.sandbox.store.all("invoice"), call.params, "customer", "status", "collection_method")
    if (id := call.params.get("subscription")) is not None:
        found = [i for i in found if i["parent"] and i["parent"]["subscription_details"]["subscription"] == id]
    return page(call, found, "/v1/invoices")


def list_lines(call: Call) -> Obj:
    invoice = call.sandbox.store.get("invoice", call.id)
    return page(call, invoice["lines"]["data"][::-1], f"/v1/invoices/{call.id}/lines")


def _charge(call: Call, invoice: Obj) -> None:
    sandbox = call.sandbox
    given = call.params.get("payment_method")
    method = payment_methods.resolve(sandbox, given) if given else collection.default_method(sandbox, invoice)
    if method is None:
        raise StripeError(
            "There is no `default_payment_method` set on this Customer or Invoice. Please set a default payment method "
            "or provide one.",
            code="missing",
        )
    collection.collect(sandbox, invoice, method=method)
    intent = invoices.intent_of(sandbox, invoice)
    if invoice["status"] == "paid" or intent is None:
        return
    if intent["status"] == "requires_action":
        raise ACTION_REQUIRED.error()
    if (error := intent["last_payment_error"]) is not None:
        raise payments.attempt_error(error)


def _discounts(call: Call, customer: str) -> list[str]:
    """Creates discounts for the requested coupons and redeems them."""
    created = []
    for position, given in enumerate(call.params.get("discounts") or []):
        coupon = call.sandbox.store.param("coupon", given.get("coupon", ""), f"discounts[{position}][coupon]")
        if not discounts.usable(call.sandbox, coupon):
            raise StripeError(f"Coupon expired: {coupon['id']}", code="coupon_expired", param="discounts")
        discounts.redeem(call.sandbox, coupon, None)
        created.append(discounts.discount(call.sandbox, coupon, customer=customer)["id"])
    return created


def _payment_settings(params: Params) -> Obj:
    given = params.get("payment_settings") or {}
    types = given.get("payment_method_types") or None
    return part(
        stripe.Invoice.PaymentSettings, payment_method_types=types, default_mandate=given.get("default_mandate") or None
    )


def _require(invoice: Obj, status: str, verb: str, code: str | None = None) -> None:
    if invoice["status"] != status:
        raise StripeError(
            f"The invoice is {invoice['status']}; only an invoice that is {status} can be {verb}.", code=code
        )


ON_REQUEST["invoice", "confirmation_secret"] = confirmation_secret

OPERATIONS = [
    Operation("POST", "/v1/invoices", p.InvoiceCreateParams, create),
    Operation("GET", "/v1/invoices", p.InvoiceListParams, list_all),
    Operation("GET", "/v1/invoices/{id}", p.InvoiceRetrieveParams, retrieve("invoice")),
    Operation("POST", "/v1/invoices/{id}", p.InvoiceUpdateParams, update),
    Operation("DELETE", "/v1/invoices/{id}", p.InvoiceDeleteParams, delete),
    Operation("POST", "/v1/invoices/{id}/finalize", p.InvoiceFinalizeInvoiceParams, finalize),
    Operation("POST", "/v1/invoices/{id}/send", p.InvoiceSendInvoiceParams, send),
    Operation("POST", "/v1/invoices/{id}/pay", p.InvoicePayParams, pay),
    Operation("POST", "/v1/invoices/{id}/void", p.InvoiceVoidInvoiceParams, void),
    Operation("POST", "/v1/invoices/{id}/mark_uncollectible", p.InvoiceMarkUncollectibleParams, mark_uncollectible),
    Operation("GET", "/v1/invoices/{id}/lines", p.InvoiceLineItemListParams, list_lines),
]
