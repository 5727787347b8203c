"""/v1/radar/early_fraud_warnings: retrieve and list; the operator creates them."""

from __future__ import annotations

import stripe.params.radar as p

from stripe_sandbox.operation import Call, Operation, retrieve
from stripe_sandbox.paging import matching, page
from stripe_sandbox.store import Obj

_TYPE = "radar.early_fraud_warning"


def list_all(call: Call) -> Obj:
    found = matching(call.sandbox.store.all(_TYPE), call.params, "charge", "payment_intent")
    return page(call, found, "/v1/radar/early_fraud_warnings")


OPERATIONS = [
    Operation("GET", "/v1/radar/early_fraud_warnings", p.EarlyFraudWarningListParams, list_all),
    Operation("GET", "/v1/radar/early_fraud_warnings/{id}", p.EarlyFraudWarningRetrieveParams, retrieve(_TYPE)),
]
