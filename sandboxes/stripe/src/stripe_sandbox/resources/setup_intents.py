"""/v1/setup_intents: read-only; setup sessions create them."""

from __future__ import annotations

import stripe.params as p

from stripe_sandbox.operation import Call, Operation, retrieve
from stripe_sandbox.paging import matching, page
from stripe_sandbox.store import Obj


def list_all(call: Call) -> Obj:
    found = matching(call.sandbox.store.all("setup_intent"), call.params, "customer", "payment_method")
    return page(call, found, "/v1/setup_intents")


OPERATIONS = [
    Operation("GET", "/v1/setup_intents", p.SetupIntentListParams, list_all),
    Operation("GET", "/v1/setup_intents/{id}", p.SetupIntentRetrieveParams, retrieve("setup_intent")),
]
