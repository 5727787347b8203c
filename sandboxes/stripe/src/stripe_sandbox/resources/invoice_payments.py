"""/v1/invoice_payments: the link between an invoice and its payment intent."""

from __future__ import annotations

import stripe.params as p

from stripe_sandbox.expansion import ON_REQUEST
from stripe_sandbox.operation import Call, Operation, retrieve
from stripe_sandbox.paging import matching, page
from stripe_sandbox.shapes import snapshot_list
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


def list_all(call: Call) -> Obj:
    found = matching(call.sandbox.store.all("invoice_payment"), call.params, "invoice", "status")
    payment_filter = call.params.get("payment")
    if payment_filter is not None:
        found = [payment for payment in found if payment_filter.items() <= payment["payment"].items()]
    return page(call, found, "/v1/invoice_payments")


def _of_invoice(sandbox: Sandbox, invoice: Obj) -> Obj:
    found = list(sandbox.store.where("invoice_payment", invoice=invoice["id"]))
    return snapshot_list(found[::-1], f"/v1/invoice_payments?invoice={invoice['id']}")


ON_REQUEST["invoice", "payments"] = _of_invoice

OPERATIONS = [
    Operation("GET", "/v1/invoice_payments", p.InvoicePaymentListParams, list_all),
    Operation("GET", "/v1/invoice_payments/{id}", p.InvoicePaymentRetrieveParams, retrieve("invoice_payment")),
]
