"""/v1/charges: retrieve, list and update; payment intents create charges."""

from __future__ import annotations

import stripe.params as p

from stripe_sandbox.expansion import ON_REQUEST
from stripe_sandbox.operation import Call, Operation, retrieve
from stripe_sandbox.paging import matching, page
from stripe_sandbox.params import merge_metadata
from stripe_sandbox.shapes import snapshot_list
from stripe_sandbox.state import Sandbox, copy_of
from stripe_sandbox.store import Obj


def update(call: Call) -> Obj:
    charge = call.sandbox.store.get("charge", call.id)
    before = copy_of(charge)
    if "metadata" in call.params:
        charge["metadata"] = merge_metadata(charge["metadata"], call.params["metadata"])
    charge.update({name: call.params[name] for name in ("description", "receipt_email") if name in call.params})
    if before != charge:
        call.sandbox.emit("charge.updated", charge, before)
    return charge


def list_all(call: Call) -> Obj:
    found = matching(call.sandbox.store.all("charge"), call.params, "customer", "payment_intent")
    return page(call, found, "/v1/charges")


def _refunds(sandbox: Sandbox, charge: Obj) -> Obj:
    found = list(sandbox.store.where("refund", charge=charge["id"]))
    return snapshot_list(found[::-1][:10], f"/v1/charges/{charge['id']}/refunds", has_more=len(found) > 10)


ON_REQUEST["charge", "refunds"] = _refunds

OPERATIONS = [
    Operation("GET", "/v1/charges", p.ChargeListParams, list_all),
    Operation("GET", "/v1/charges/{id}", p.ChargeRetrieveParams, retrieve("charge")),
    Operation("POST", "/v1/charges/{id}", p.ChargeUpdateParams, update),
]
