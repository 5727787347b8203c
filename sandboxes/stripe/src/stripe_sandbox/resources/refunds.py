"""/v1/refunds"""

from __future__ import annotations

import stripe.params as p

from stripe_sandbox.errors import StripeError
from stripe_sandbox.flows import refunds
from stripe_sandbox.instruments import RefundBehavior
from stripe_sandbox.operation import Call, Operation, retrieve
from stripe_sandbox.paging import matching, page
from stripe_sandbox.params import merge_metadata
from stripe_sandbox.state import Sandbox, copy_of
from stripe_sandbox.store import Obj


def create(call: Call) -> Obj:
    params, charge = call.params, _charge(call)
    if "payment_intent" in params and "charge" in params and charge["payment_intent"] != params["payment_intent"]:
        raise StripeError("The charge does not belong to the payment intent.", param="charge")
    return refunds.create(
        call.sandbox,
        charge,
        amount=params.get("amount"),
        reason=params.get("reason"),
        metadata=merge_metadata({}, params.get("metadata")),
        status="pending" if _pends(call.sandbox, charge) else "succeeded",
    )


def update(call: Call) -> Obj:
    refund = call.sandbox.store.get("refund", call.id)
    before = copy_of(refund)
    refund["metadata"] = merge_metadata(refund["metadata"], call.params.get("metadata"))
    if before != refund:
        call.sandbox.emit("refund.updated", refund, before)
    return refund


def cancel(call: Call) -> Obj:
    refund = call.sandbox.store.get("refund", call.id)
    refunds.cancel(call.sandbox, refund)
    return refund


def list_all(call: Call) -> Obj:
    found = matching(call.sandbox.store.all("refund"), call.params, "charge", "payment_intent")
    return page(call, found, "/v1/refunds")


def _charge(call: Call) -> Obj:
    if "charge" in call.params:
        return call.sandbox.store.param("charge", call.params["charge"], "charge")
    if "payment_intent" not in call.params:
        raise StripeError("One of the following params should be provided for this request: payment_intent or charge.")
    intent = call.sandbox.store.param("payment_intent", call.params["payment_intent"], "payment_intent")
    if intent["status"] != "succeeded":
        raise StripeError(
            f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.", param="payment_intent"
        )
    return call.sandbox.store.get("charge", intent["latest_charge"])


def _pends(sandbox: Sandbox, charge: Obj) -> bool:
    instrument = sandbox.internal.instruments[charge["payment_method"]]
    return sandbox.faults.pending_refunds or instrument.refund is RefundBehavior.PENDS


OPERATIONS = [
    Operation("POST", "/v1/refunds", p.RefundCreateParams, create),
    Operation("GET", "/v1/refunds", p.RefundListParams, list_all),
    Operation("GET", "/v1/refunds/{id}", p.RefundRetrieveParams, retrieve("refund")),
    Operation("POST", "/v1/refunds/{id}", p.RefundUpdateParams, update),
    Operation("POST", "/v1/refunds/{id}/cancel", p.RefundCancelParams, cancel),
]
