"""/v1/subscription_schedules"""

from __future__ import annotations

import stripe.params as p

from stripe_sandbox.errors import StripeError, missing_param
from stripe_sandbox.flows import collection, invoices, subscription_schedules, subscriptions
from stripe_sandbox.operation import Call, Operation, retrieve
from stripe_sandbox.paging import matching, page
from stripe_sandbox.params import merge_metadata
from stripe_sandbox.state import copy_of
from stripe_sandbox.store import Obj


def create(call: Call) -> Obj:
    params, sandbox = call.params, call.sandbox
    end_behavior, metadata = params.get("end_behavior", "release"), merge_metadata({}, params.get("metadata"))
    if "from_subscription" not in params:
        return _create_with_subscription(call)
    for name in ("phases", "customer", "start_date", "end_behavior"):
        if name in params:
            raise StripeError(f"You cannot set `{name}` if `from_subscription` is set.", param=name)
    subscription = sandbox.store.param("subscription", params["from_subscription"], "from_subscription")
    if subscription["schedule"] is not None:
        raise StripeError(
            f"You cannot migrate a subscription that is already attached to a schedule: {subscription['schedule']}.",
            param="from_subscription",
        )
    if subscription["status"] == "canceled":
        raise StripeError("You cannot migrate a subscription that is canceled.", param="from_subscription")
    phases = [subscription_schedules.current_phase(subscription)]
    return subscription_schedules.create(
        sandbox, subscription, end_behavior=end_behavior, metadata=metadata, phases=phases
    )


def update(call: Call) -> Obj:
    params, sandbox = call.params, call.sandbox
    schedule = sandbox.store.get("subscription_schedule", call.id)
    if schedule["status"] not in ("active", "not_started"):
        raise StripeError(
            f"You cannot update a subscription schedule that is currently in the `{schedule['status']}` status."
        )
    before = copy_of(schedule)
    if "end_behavior" in params:
        schedule["end_behavior"] = params["end_behavior"]
    if "metadata" in params:
        schedule["metadata"] = merge_metadata(schedule["metadata"], params["metadata"])
    if "automatic_tax" in (params.get("default_settings") or {}):
        schedule["default_settings"]["automatic_tax"] = params["default_settings"]["automatic_tax"]
    if "phases" in params:
        now = sandbox.clock.now_for(schedule["customer"])
        first = schedule["current_phase"]["start_date"]
        phases = subscription_schedules.build_phases(sandbox, params["phases"], first_start=first, now=now)
        subscription_schedules.replace_phases(sandbox, schedule, phases)
    if before != schedule:
        sandbox.emit("subscription_schedule.updated", schedule, before)
    return schedule


def cancel(call: Call) -> Obj:
    schedule = call.sandbox.store.get("subscription_schedule", call.id)
    subscription_schedules.cancel(call.sandbox, schedule)
    return schedule


def release(call: Call) -> Obj:
    schedule = call.sandbox.store.get("subscription_schedule", call.id)
    subscription_schedules.release(call.sandbox, schedule)
    return schedule


def list_all(call: Call) -> Obj:
    found = matching(call.sandbox.store.all("subscription_schedule"), call.params, "customer")
    return page(call, found, "/v1/subscription_schedules")


def _create_with_subscription(call: Call) -> Obj:
    """Creates a schedule and its subscription, starting now. A start in the future is not supported."""
    params, sandbox = call.params, call.sandbox
    for name in ("customer", "phases", "start_date"):
        if not params.get(name):
            raise missing_param(name)
    customer = sandbox.store.param("customer", params["customer"], "customer")["id"]
    now = sandbox.clock.now_for(customer)
    if params["start_date"] != "now" and params["start_date"] > now:
        raise StripeError("The sandbox only supports schedules that start now.", param="start_date")
    phases = subscription_schedules.build_phases(sandbox, params["phases"], first_start=None, now=now)
    items = [(sandbox.store.get("price", item["price"]), item["quantity"]) for item in phases[0]["items"]]
    tax = (params.get("default_settings") or {}).get("automatic_tax")
    subscription = subscriptions.create(
        sandbox,
        customer=customer,
        prices=items,
        status="active",
        metadata=dict(phases[0]["metadata"]),
        automatic_tax=phases[0]["automatic_tax"] or tax,
        billing_mode=params.get("billing_mode"),
    )
    mark = sandbox.events.mark()
    invoice = subscriptions.draft_invoice(sandbox, subscription, "subscription_create", auto_advance=True)
    mark.emit("customer.subscription.created", subscription)
    schedule = subscription_schedules.create(
        sandbox,
        subscription,
        end_behavior=params.get("end_behavior", "release"),
        metadata=merge_metadata({}, params.get("metadata")),
        phases=phases,
        tax=tax,
    )
    invoices.finalize(sandbox, invoice)
    if invoice["status"] == "open":
        collection.collect(sandbox, invoice)
    return schedule


OPERATIONS = [
    Operation("POST", "/v1/subscription_schedules", p.SubscriptionScheduleCreateParams, create),
    Operation("GET", "/v1/subscription_schedules", p.SubscriptionScheduleListParams, list_all),
    Operation(
        "GET",
        "/v1/subscription_schedules/{id}",
        p.SubscriptionScheduleRetrieveParams,
        retrieve("subscription_schedule"),
    ),
    Operation("POST", "/v1/subscription_schedules/{id}", p.SubscriptionScheduleUpdateParams, update),
    Operation("POST", "/v1/subscription_schedules/{id}/cancel", p.SubscriptionScheduleCancelParams, cancel),
    Operation("POST", "/v1/subscription_schedules/{id}/release", p.SubscriptionScheduleReleaseParams, release),
]
