"""/v1/payment_methods"""

from __future__ import annotations

import stripe.params as p

from stripe_sandbox.errors import StripeError, missing_param
from stripe_sandbox.flows import payment_methods
from stripe_sandbox.instruments import Instrument, bank_account, card, wallet
from stripe_sandbox.methods import METHODS
from stripe_sandbox.operation import Call, Operation, retrieve
from stripe_sandbox.paging import page
from stripe_sandbox.params import Params, merge_metadata
from stripe_sandbox.state import copy_of
from stripe_sandbox.store import Obj

_TOKENS = {"tok_visa": "4242424242424242", "tok_chargeDeclined": "4000000000000002"}


def create(call: Call) -> Obj:
    given = call.params.get("billing_details") or {}
    billing = payment_methods.billing_details(given.get("email"), given.get("name"), given.get("phone"))
    metadata = merge_metadata({}, call.params.get("metadata"))
    return payment_methods.create(call.sandbox, _instrument(call.params), billing, metadata)


def attach(call: Call) -> Obj:
    if "customer" not in call.params:
        raise missing_param("customer")
    customer = call.sandbox.store.param("customer", call.params["customer"], "customer")
    method = payment_methods.resolve(call.sandbox, call.id)
    payment_methods.require_not_detached(call.sandbox, method)
    if method["customer"] not in (None, customer["id"]):
        raise StripeError(
            "The payment method you provided has already been attached to a customer.",
            code="payment_method_unexpected_state",
        )
    return payment_methods.attach(call.sandbox, method, customer["id"])


def detach(call: Call) -> Obj:
    method = call.sandbox.store.get("payment_method", call.id)
    if method["customer"] is None:
        raise StripeError("The payment method you provided is not attached to a customer so detachment is impossible.")
    payment_methods.detach(call.sandbox, method)
    return method


def update(call: Call) -> Obj:
    method = call.sandbox.store.get("payment_method", call.id)
    before = copy_of(method)
    if "metadata" in call.params:
        method["metadata"] = merge_metadata(method["metadata"], call.params["metadata"])
    given = call.params.get("billing_details") or {}
    method["billing_details"].update({name: value or None for name, value in given.items() if name != "address"})
    if before != method:
        call.sandbox.emit("payment_method.updated", method, before)
    return method


def list_all(call: Call) -> Obj:
    return _list(call, call.params.get("customer"), "/v1/payment_methods")


def list_of_customer(call: Call) -> Obj:
    call.sandbox.store.get("customer", call.id)
    return _list(call, call.id, f"/v1/customers/{call.id}/payment_methods")


def of_customer(call: Call) -> Obj:
    call.sandbox.store.get("customer", call.id)
    method = call.sandbox.store.get("payment_method", call.path["method"])
    payment_methods.require_owner(method, call.id)
    return method


def _list(call: Call, customer: str | None, url: str) -> Obj:
    found = [
        method
        for method in call.sandbox.store.where("payment_method", customer=customer)
        if call.params.get("type") in (None, method["type"])
    ]
    return page(call, found if customer else [], url)


def _instrument(params: Params) -> Instrument:
    kind = params.get("type")
    if kind is None:
        raise missing_param("type")
    if kind == "card":
        data = params.get("card") or {}
        if "number" not in data and "token" not in data:
            raise missing_param("card[number]")
        return card(data["number"] if "number" in data else _TOKENS.get(data["token"], "4242424242424242"))
    if kind == "us_bank_account":
        account = (params.get("us_bank_account") or {}).get("account_number", "000123456789")
        return bank_account(None if account == "000123456789" else "insufficient_funds")
    if kind not in METHODS:
        raise StripeError(f"The payment method type {kind} is not supported by the sandbox.", param="type")
    return wallet(kind, authorized=True)


OPERATIONS = [
    Operation("POST", "/v1/payment_methods", p.PaymentMethodCreateParams, create),
    Operation("GET", "/v1/payment_methods", p.PaymentMethodListParams, list_all),
    Operation("GET", "/v1/payment_methods/{id}", p.PaymentMethodRetrieveParams, retrieve("payment_method")),
    Operation("POST", "/v1/payment_methods/{id}", p.PaymentMethodUpdateParams, update),
    Operation("POST", "/v1/payment_methods/{id}/attach", p.PaymentMethodAttachParams, attach),
    Operation("POST", "/v1/payment_methods/{id}/detach", p.PaymentMethodDetachParams, detach),
    Operation("GET", "/v1/customers/{id}/payment_methods", p.CustomerPaymentMethodListParams, list_of_customer),
    Operation(
        "GET",
        "/v1/customers/{id}/payment_methods/{method}",
        p.CustomerPaymentMethodRetrieveParams,
        of_customer,
    ),
]
