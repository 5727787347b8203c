"""/v1/billing_portal/sessions"""

from __future__ import annotations

import stripe.params.billing_portal as p
from stripe.billing_portal import Session

from stripe_sandbox.errors import missing_param
from stripe_sandbox.ids import new_id
from stripe_sandbox.operation import Call, Operation
from stripe_sandbox.shapes import build
from stripe_sandbox.store import Obj


def create(call: Call) -> Obj:
    params, sandbox = call.params, call.sandbox
    if "customer" not in params:
        raise missing_param("customer")
    sandbox.store.param("customer", params["customer"], "customer")
    id = new_id("bps")
    session = build(
        Session,
        id=id,
        configuration="bpc_sandbox",
        created=sandbox.clock.now(),
        customer=params["customer"],
        locale=params.get("locale"),
        return_url=params.get("return_url"),
        url=sandbox.url(f"/p/session/{id}"),
    )
    return sandbox.store.add(session)


OPERATIONS = [Operation("POST", "/v1/billing_portal/sessions", p.SessionCreateParams, create)]
