"""/v1/balance_transactions"""

from __future__ import annotations

import stripe.params as p

from stripe_sandbox.operation import Call, Operation, retrieve
from stripe_sandbox.paging import matching, page
from stripe_sandbox.store import Obj


def list_all(call: Call) -> Obj:
    found = matching(call.sandbox.store.all("balance_transaction"), call.params, "type", "source", "currency")
    return page(call, found, "/v1/balance_transactions")


OPERATIONS = [
    Operation("GET", "/v1/balance_transactions", p.BalanceTransactionListParams, list_all),
    Operation(
        "GET",
        "/v1/balance_transactions/{id}",
        p.BalanceTransactionRetrieveParams,
        retrieve("balance_transaction"),
    ),
]
