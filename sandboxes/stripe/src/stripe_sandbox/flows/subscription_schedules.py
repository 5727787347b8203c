"""Subscription schedules: phases of a subscription, which is canceled or released at the end."""

from __future__ import annotations

from typing import Any

import stripe

from stripe_sandbox.clock import add_interval
from stripe_sandbox.errors import StripeError, missing_param
from stripe_sandbox.flows import prices, subscriptions, taxes
from stripe_sandbox.ids import new_id
from stripe_sandbox.params import Params, merge_metadata
from stripe_sandbox.shapes import build, part
from stripe_sandbox.state import Sandbox, copy_of
from stripe_sandbox.store import Obj

_Phase = stripe.SubscriptionSchedule.Phase


def create(
    sandbox: Sandbox,
    subscription: Obj,
    *,
    end_behavior: str,
    metadata: dict[str, str],
    phases: list[Obj],
    tax: Params | None = None,
) -> Obj:
    """Creates a schedule of a subscription. Emits subscription_schedule.created, customer.subscription.updated.

    `tax` is the `automatic_tax` of the default settings, for phases without their own.
    """
    before = copy_of(subscription)
    schedule = build(
        stripe.SubscriptionSchedule,
        id=new_id("sub_sched"),
        billing_mode=copy_of(subscription["billing_mode"]),
        created=sandbox.clock.now_for(subscription["customer"]),
        customer=subscription["customer"],
        default_settings=part(
            stripe.SubscriptionSchedule.DefaultSettings,
            automatic_tax=_tax(tax) or _tax({"enabled": False}),
            billing_cycle_anchor="automatic",
            collection_method=subscription["collection_method"],
            invoice_settings={"account_tax_ids": None, "days_until_due": None, "issuer": {"type": "self"}},
        ),
        end_behavior=end_behavior,
        metadata=metadata,
        pause_schedules=[],
        phases=phases,
        status="active",
        subscription=subscription["id"],
        test_clock=subscription["test_clock"],
    )
    schedule["current_phase"] = _bounds(phases[0])
    subscription["schedule"] = schedule["id"]
    sandbox.store.add(schedule)
    sandbox.emit("subscription_schedule.created", schedule)
    sandbox.emit("customer.subscription.updated", subscription, before)
    return schedule


def current_phase(subscription: Obj) -> Obj:
    """The initial phase of a schedule created from a subscription: its current period."""
    start, end = subscriptions.period(subscription)
    items = [_item(entry["price"], entry["quantity"]) for entry in subscription["items"]["data"]]
    tax = _tax(subscription["automatic_tax"])
    return _phase(items, start, end, currency=subscription["currency"], metadata={}, automatic_tax=tax)


def build_phases(sandbox: Sandbox, given: list[Params], *, first_start: int | None, now: int) -> list[Obj]:
    """Builds the requested phases. Raises Stripe's error for a missing start, end or price.

    `first_start` is the start of the current phase, which an update cannot change.
    """
    phases: list[Obj] = []
    for position, entry in enumerate(given):
        path = f"phases[{position}]"
        start = phases[-1]["end_date"] if phases else _first_start(entry, first_start, now, path)
        items = [_phase_item(sandbox, item, f"{path}[items][{i}]") for i, item in enumerate(entry["items"])]
        phases.append(
            _phase(
                [_item(price, quantity) for price, quantity in items],
                start,
                _end(entry, start, path),
                currency=items[0][0]["currency"],
                metadata=merge_metadata({}, entry.get("metadata")),
                automatic_tax=_tax(entry.get("automatic_tax")),
                proration_behavior=entry.get("proration_behavior", "create_prorations"),
            )
        )
    return phases


def replace_phases(sandbox: Sandbox, schedule: Obj, phases: list[Obj]) -> None:
    """Replaces the phases of an active schedule. The current one is applied immediately."""
    now = sandbox.clock.now_for(schedule["customer"])
    current = next((phase for phase in phases if phase["start_date"] <= now < phase["end_date"]), None)
    if current is None:
        raise StripeError("You must keep the current phase when you update a schedule.", param="phases")
    schedule["phases"] = phases
    schedule["current_phase"] = _bounds(current)
    _apply_phase(sandbox, schedule, current)


def phase_end(schedule: Obj) -> int | None:
    """The end of the current phase, if any."""
    current = schedule["current_phase"]
    return current["end_date"] if schedule["status"] == "active" and current else None


def advance(sandbox: Sandbox, schedule: Obj) -> None:
    """Ends the current phase: starts the next one, or completes or releases the schedule."""
    before, ended = copy_of(schedule), schedule["current_phase"]["end_date"]
    upcoming = next((phase for phase in schedule["phases"] if phase["start_date"] >= ended), None)
    if upcoming is not None:
        schedule["current_phase"] = _bounds(upcoming)
        _apply_phase(sandbox, schedule, upcoming)
        sandbox.emit("subscription_schedule.updated", schedule, before)
        return
    subscription = sandbox.store.get("subscription", schedule["subscription"])
    if schedule["end_behavior"] == "cancel":
        subscriptions.cancel(sandbox, subscription, reason=None)
        schedule.update(
            status="completed", completed_at=sandbox.clock.now_for(schedule["customer"]), current_phase=None
        )
        sandbox.emit("subscription_schedule.updated", schedule, before)
        sandbox.emit("subscription_schedule.completed", schedule)
    else:
        release(sandbox, schedule)


def cancel(sandbox: Sandbox, schedule: Obj) -> None:
    """Cancels the schedule and its subscription."""
    _require_not_ended(schedule, "canceled")
    subscription = sandbox.store.get("subscription", schedule["subscription"])
    schedule.update(status="canceled", canceled_at=sandbox.clock.now_for(schedule["customer"]), current_phase=None)
    if subscription["status"] != "canceled":
        subscriptions.cancel(sandbox, subscription)
    sandbox.emit("subscription_schedule.canceled", schedule)


def end_with_subscription(sandbox: Sandbox, subscription: Obj, *, delinquent: bool) -> None:
    """Cancels the schedule of a canceled subscription, if any. Emits subscription_schedule.aborted or canceled."""
    if subscription["schedule"] is None:
        return
    schedule = sandbox.store.get("subscription_schedule", subscription["schedule"])
    if schedule["status"] in ("active", "not_started"):
        schedule.update(status="canceled", canceled_at=subscription["ended_at"], current_phase=None)
        sandbox.emit(f"subscription_schedule.{'aborted' if delinquent else 'canceled'}", schedule)


def release(sandbox: Sandbox, schedule: Obj) -> None:
    """Releases the schedule; the subscription continues without it."""
    _require_not_ended(schedule, "released")
    subscription = sandbox.store.get("subscription", schedule["subscription"])
    before = copy_of(subscription)
    schedule.update(
        status="released",
        released_at=sandbox.clock.now_for(schedule["customer"]),
        released_subscription=subscription["id"],
        subscription=None,
        current_phase=None,
    )
    subscription["schedule"] = None
    sandbox.emit("customer.subscription.updated", subscription, before)
    sandbox.emit("subscription_schedule.released", schedule)


def _apply_phase(sandbox: Sandbox, schedule: Obj, phase: Obj) -> None:
    """Applies a phase's prices, metadata and automatic tax to the subscription, without proration.

    A phase without `automatic_tax` has that of the default settings: tax ends if neither enables it
    (github.com/bitwarden/server/pull/7437).
    """
    subscription = sandbox.store.get("subscription", schedule["subscription"])
    before = copy_of(subscription)
    requested = [(item["price"], item["quantity"]) for item in phase["items"]]
    if requested != [(entry["price"]["id"], entry["quantity"]) for entry in subscription["items"]["data"]]:
        start, end = subscriptions.period(subscription)
        subscription["items"]["data"] = [
            subscriptions.item(subscription, sandbox.store.get("price", price), quantity, start, end)
            for price, quantity in requested
        ]
    subscription["metadata"] = merge_metadata(subscription["metadata"], phase["metadata"])
    tax = phase["automatic_tax"] or schedule["default_settings"]["automatic_tax"]
    if tax["enabled"] != subscription["automatic_tax"]["enabled"]:
        subscription["automatic_tax"] = taxes.setting(stripe.Subscription.AutomaticTax, tax, complete=False)
    if before != subscription:
        sandbox.emit("customer.subscription.updated", subscription, before)


def _first_start(entry: Params, first_start: int | None, now: int, path: str) -> int:
    if "start_date" not in entry:
        if first_start is None:
            return now
        raise missing_param(f"{path}[start_date]")
    start = now if entry["start_date"] == "now" else int(entry["start_date"])
    if first_start is not None and start != first_start:
        raise StripeError("You can not modify the start date of the current phase.", param=f"{path}[start_date]")
    return start


def _end(entry: Params, start: int, path: str) -> int:
    if "end_date" in entry and "duration" in entry:
        raise StripeError("You may only specify one of these parameters: end_date, duration.", param=path)
    if "end_date" in entry:
        end = int(entry["end_date"])
    elif "duration" in entry:
        end = add_interval(start, entry["duration"]["interval"], entry["duration"].get("interval_count", 1))
    else:
        raise missing_param(f"{path}[duration]")
    if end <= start:
        raise StripeError("The phase end date must be after its start date.", param=f"{path}[end_date]")
    return end


def _phase_item(sandbox: Sandbox, given: Params, path: str) -> tuple[Obj, int]:
    price = prices.resolve(sandbox, given, path)
    if not price["recurring"]:
        raise StripeError("Phase items require recurring prices.", param=f"{path}[price]")
    return price, given.get("quantity", 1)


def _phase(items: list[Obj], start: int, end: int, **values: Any) -> Obj:
    return build(
        _Phase,
        add_invoice_items=[],
        discounts=[],
        end_date=end,
        items=items,
        start_date=start,
        **{"proration_behavior": "create_prorations", **values},
    )


def _item(price: Obj, quantity: int) -> Obj:
    return build(
        _Phase.Item, discounts=[], metadata={}, plan=price["id"], price=price["id"], quantity=quantity, tax_rates=[]
    )


def _tax(given: Params | None) -> Obj | None:
    if given is None:
        return None
    liability = {"account": None, "type": "self"} if given["enabled"] else None
    return {"enabled": given["enabled"], "liability": liability, "disabled_reason": None}


def _bounds(phase: Obj) -> Obj:
    return {"start_date": phase["start_date"], "end_date": phase["end_date"]}


def _require_not_ended(schedule: Obj, verb: str) -> None:
    if schedule["status"] not in ("active", "not_started"):
        raise StripeError(
            f"A subscription schedule that is currently in the `{schedule['status']}` status cannot be {verb}."
        )
