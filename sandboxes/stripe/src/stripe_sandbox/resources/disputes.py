"""/v1/disputes: banks open them (see the operator's page); here they are looked at and answered."""

import stripe.params as p

from stripe_sandbox.flows import disputing
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
        # Evidence is handed in unless `submit` says to wait.
        final = call.params.get("submit", True)
        disputing.submit(call.sandbox, dispute, call.params.get("evidence") or {}, final=final)
    return dispute


def close(call: Call) -> Obj:
    """Give in: the dispute is lost."""
    dispute = call.sandbox.store.get("dispute", call.id)
    inquiry = dispute["status"].startswith("warning_")
    disputing.close(call.sandbox, dispute, "warning_closed" if inquiry else "lost")
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
