"""/v1/disputes: retrieve, respond and close; the operator opens disputes."""

from __future__ import annotations

import stripe.params as p

from stripe_sandbox.flows import disputes
from stripe_sandbox.operation import Call, Operation, retrieve
from stripe_sandbox.paging import matching, page
from stripe_sandbox.params import merge_metadata
from stripe_sandbox.state import copy_of
from stripe_sandbox.store import Obj


def update(call: Call) -> Obj:
    dispute = call.sandbox.store.get("dispute", call.id)
    if "metadata" in call.params:
        before = copy_of(dispute)
        dispute["metadata"] = merge_metadata(dispute["metadata"], call.params["metadata"])
        if before != dispute:
            call.sandbox.emit("charge.dispute.updated", dispute, before)
    if "evidence" in call.params or call.params.get("submit"):
        # Evidence is submitted by default, unless `submit` is false.
        final = call.params.get("submit", True)
        disputes.submit_evidence(call.sandbox, dispute, call.params.get("evidence") or {}, final=final)
    return dispute


def close(call: Call) -> Obj:
    """Accepts the dispute: it is lost, an inquiry closed."""
    dispute = call.sandbox.store.get("dispute", call.id)
    inquiry = dispute["status"].startswith("warning_")
    disputes.close(call.sandbox, dispute, "warning_closed" if inquiry else "lost")
    return dispute


def list_all(call: Call) -> Obj:
    found = matching(call.sandbox.store.all("dispute"), call.params, "charge", "payment_intent")
    return page(call, found, "/v1/disputes")


OPERATIONS = [
    Operation("GET", "/v1/disputes", p.DisputeListParams, list_all),
    Operation("GET", "/v1/disputes/{id}", p.DisputeRetrieveParams, retrieve("dispute")),
    Operation("POST", "/v1/disputes/{id}", p.DisputeUpdateParams, update),
    Operation("POST", "/v1/disputes/{id}/close", p.DisputeCloseParams, close),
]
