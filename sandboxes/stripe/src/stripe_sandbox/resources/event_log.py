"""/v1/events: the events of the last 30 days."""

from __future__ import annotations

import fnmatch

import stripe.params as p

from stripe_sandbox.clock import DAY
from stripe_sandbox.errors import StripeError
from stripe_sandbox.operation import Call, Operation, retrieve
from stripe_sandbox.paging import matching, page
from stripe_sandbox.store import Obj

_RETENTION_DAYS = 30


def list_all(call: Call) -> Obj:
    params = call.params
    if "type" in params and "types" in params:
        raise StripeError("You may pass up to one of `type` and `types`.", param="types")
    if len(params.get("types", [])) > 20:
        raise StripeError("You may pass up to 20 event types.", param="types")
    oldest = call.sandbox.clock.now() - _RETENTION_DAYS * DAY
    found = [event for event in matching(call.sandbox.store.all("event"), params) if event["created"] >= oldest]
    if "type" in params:
        found = [event for event in found if fnmatch.fnmatchcase(event["type"], params["type"])]
    if "types" in params:
        found = [event for event in found if event["type"] in params["types"]]
    if "delivery_success" in params:
        delivered = call.sandbox.deliveries.succeeded
        found = [event for event in found if delivered(event["id"]) == params["delivery_success"]]
    return page(call, found, "/v1/events")


OPERATIONS = [
    Operation("GET", "/v1/events", p.EventListParams, list_all),
    Operation("GET", "/v1/events/{id}", p.EventRetrieveParams, retrieve("event")),
]
