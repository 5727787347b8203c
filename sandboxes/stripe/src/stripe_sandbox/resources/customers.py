"""/v1/customers"""

from __future__ import annotations

import stripe.params as p

from stripe_sandbox.expansion import ON_REQUEST
from stripe_sandbox.flows import customers, payment_methods
from stripe_sandbox.flows.customers import create_customer
from stripe_sandbox.operation import Call, Operation
from stripe_sandbox.paging import matching, page
from stripe_sandbox.params import merge_metadata
from stripe_sandbox.shapes import snapshot_list
from stripe_sandbox.state import Sandbox, copy_of
from stripe_sandbox.store import Obj

_TEXT = ("name", "email", "phone", "description", "address", "shipping", "preferred_locales", "tax_exempt")


def create(call: Call) -> Obj:
    params, sandbox = call.params, call.sandbox
    if (clock := params.get("test_clock")) is not None:
        sandbox.store.param("test_helpers.test_clock", clock, "test_clock")
    values = {name: params[name] or None for name in _TEXT if name in params}
    customer = create_customer(
        sandbox, **values, metadata=merge_metadata({}, params.get("metadata")), test_clock=params.get("test_clock")
    )
    _set_defaults(call, customer)
    return customer


def update(call: Call) -> Obj:
    customer = call.sandbox.store.get("customer", call.id)
    before = copy_of(customer)
    customer.update({name: call.params[name] or None for name in _TEXT if name in call.params})
    if "metadata" in call.params:
        customer["metadata"] = merge_metadata(customer["metadata"], call.params["metadata"])
    _set_defaults(call, customer)
    if before != customer:
        call.sandbox.emit("customer.updated", customer, before)
    return customer


def delete(call: Call) -> Obj:
    customer = call.sandbox.store.get("customer", call.id)
    customers.delete(call.sandbox, customer)
    return _deleted(call)


def retrieve(call: Call) -> Obj:
    """A deleted customer is returned as a stub, not as a 404."""
    if call.id in call.sandbox.internal.deleted_customers:
        return _deleted(call)
    return call.sandbox.store.get("customer", call.id)


def _deleted(call: Call) -> Obj:
    return {"id": call.id, "object": "customer", "deleted": True}


def list_all(call: Call) -> Obj:
    existing = call.sandbox.store.all("customer")
    found = [c for c in matching(existing, call.params, "email") if c["test_clock"] == call.params.get("test_clock")]
    return page(call, found, "/v1/customers")


def _set_defaults(call: Call, customer: Obj) -> None:
    """Attaches a given payment method; only `invoice_settings` makes it the default, even the same test id."""
    attached: Obj | None = None
    if (given := call.params.get("payment_method")) is not None:
        attached = payment_methods.attach(call.sandbox, payment_methods.resolve(call.sandbox, given), customer["id"])
    settings = call.params.get("invoice_settings") or {}
    if (default := settings.get("default_payment_method")) == "":
        customer["invoice_settings"]["default_payment_method"] = None
    elif default is not None and default == given and attached is not None:
        customer["invoice_settings"]["default_payment_method"] = attached["id"]
    elif default is not None:
        param = "invoice_settings[default_payment_method]"
        method = payment_methods.resolve(call.sandbox, default, param)
        payment_methods.require_owner(method, customer["id"], param)
        customer["invoice_settings"]["default_payment_method"] = method["id"]


def _subscriptions(sandbox: Sandbox, customer: Obj) -> Obj:
    found = [s for s in sandbox.store.where("subscription", customer=customer["id"]) if s["status"] != "canceled"]
    return snapshot_list(found[::-1], f"/v1/customers/{customer['id']}/subscriptions")


ON_REQUEST["customer", "subscriptions"] = _subscriptions

OPERATIONS = [
    Operation("POST", "/v1/customers", p.CustomerCreateParams, create),
    Operation("GET", "/v1/customers", p.CustomerListParams, list_all),
    Operation("GET", "/v1/customers/{id}", p.CustomerRetrieveParams, retrieve),
    Operation("POST", "/v1/customers/{id}", p.CustomerUpdateParams, update),
    Operation("DELETE", "/v1/customers/{id}", p.CustomerDeleteParams, delete),
]
