"""/v1/customers/{id}/balance_transactions: the credit balance for future invoices."""

from __future__ import annotations

import stripe.params as p

from stripe_sandbox.errors import StripeError
from stripe_sandbox.flows import balances
from stripe_sandbox.flows.prices import check_currency
from stripe_sandbox.operation import Call, Operation
from stripe_sandbox.paging import matching, page
from stripe_sandbox.params import merge_metadata
from stripe_sandbox.store import Obj

_KIND = "customer_balance_transaction"


def create(call: Call) -> Obj:
    customer = call.sandbox.store.get("customer", call.id)
    if call.params["amount"] == 0:
        raise StripeError("Invalid integer: the amount may not be zero.", param="amount")
    return balances.post(
        call.sandbox,
        customer,
        call.params["amount"],
        "adjustment",
        currency=check_currency(call.params["currency"]),
        description=call.params.get("description"),
        metadata=merge_metadata({}, call.params.get("metadata")),
    )


def list_all(call: Call) -> Obj:
    call.sandbox.store.get("customer", call.id)
    found = matching(call.sandbox.store.where(_KIND, customer=call.id), call.params, "invoice")
    return page(call, found, f"/v1/customers/{call.id}/balance_transactions")


_PATH = "/v1/customers/{id}/balance_transactions"

OPERATIONS = [
    Operation("POST", _PATH, p.CustomerBalanceTransactionCreateParams, create),
    Operation("GET", _PATH, p.CustomerBalanceTransactionListParams, list_all),
]
