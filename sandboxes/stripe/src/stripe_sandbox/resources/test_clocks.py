"""/v1/test_helpers/test_clocks"""

from __future__ import annotations

import stripe.params.test_helpers as p
from stripe.test_helpers import TestClock

from stripe_sandbox.clock import DAY
from stripe_sandbox.errors import StripeError
from stripe_sandbox.flows import timeline
from stripe_sandbox.ids import new_id
from stripe_sandbox.operation import Call, Operation, retrieve
from stripe_sandbox.paging import matching, page
from stripe_sandbox.shapes import build
from stripe_sandbox.state import copy_of
from stripe_sandbox.store import Obj

_KIND = "test_helpers.test_clock"


def create(call: Call) -> Obj:
    now = call.sandbox.clock.now()
    clock = build(
        TestClock,
        id=new_id("clock"),
        created=now,
        deletes_after=now + 30 * DAY,
        frozen_time=call.params["frozen_time"],
        name=call.params.get("name"),
        status="ready",
        status_details={},
    )
    call.sandbox.store.add(clock)
    call.sandbox.emit("test_helpers.test_clock.created", clock)
    return clock


def advance(call: Call) -> Obj:
    """Processes everything due. The response has status `advancing`, as at Stripe, though the clock is ready."""
    sandbox, clock = call.sandbox, call.sandbox.store.get(_KIND, call.id)
    target = call.params["frozen_time"]
    if target <= clock["frozen_time"]:
        raise StripeError("The test clock can only be advanced to a later time.", param="frozen_time")
    before = copy_of(clock)
    clock.update(status="advancing", status_details={"advancing": {"target_frozen_time": target}})
    sandbox.emit("test_helpers.test_clock.advancing", clock, before)
    advancing = copy_of(clock)
    timeline.run_until(sandbox, clock["id"], target)
    clock.update(status="ready", status_details={})
    sandbox.emit("test_helpers.test_clock.ready", clock)
    return advancing


def delete(call: Call) -> Obj:
    """Also deletes its customers and their objects."""
    clock = call.sandbox.store.get(_KIND, call.id)
    for kind in ("customer", "subscription", "subscription_schedule", "invoice"):
        for obj in list(call.sandbox.store.where(kind, test_clock=call.id)):
            call.sandbox.store.remove(obj)
    call.sandbox.store.remove(clock)
    call.sandbox.emit("test_helpers.test_clock.deleted", clock)
    return {"id": call.id, "object": _KIND, "deleted": True}


def list_all(call: Call) -> Obj:
    return page(call, matching(call.sandbox.store.all(_KIND), call.params), "/v1/test_helpers/test_clocks")


OPERATIONS = [
    Operation("POST", "/v1/test_helpers/test_clocks", p.TestClockCreateParams, create),
    Operation("GET", "/v1/test_helpers/test_clocks", p.TestClockListParams, list_all),
    Operation("GET", "/v1/test_helpers/test_clocks/{id}", p.TestClockRetrieveParams, retrieve(_KIND)),
    Operation("POST", "/v1/test_helpers/test_clocks/{id}/advance", p.TestClockAdvanceParams, advance),
    Operation("DELETE", "/v1/test_helpers/test_clocks/{id}", p.TestClockDeleteParams, delete),
]
