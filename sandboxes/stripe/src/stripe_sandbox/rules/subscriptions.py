"""Rules of subscriptions and their schedules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stripe_sandbox.operation import Call
from stripe_sandbox.rules.rule import Rule, Values
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj

_CREATE, _UPDATE = "POST /v1/subscriptions", "POST /v1/subscriptions/{id}"
_SCHEDULE = "POST /v1/subscription_schedules"
_ENDED = ("canceled", "incomplete_expired")


def _requested(call: Call) -> set[str]:
    """The currencies of the requested recurring prices or invoice item."""
    params = call.params
    phases = params.get("phases") or []
    items = [*(params.get("items") or []), *(params.get("line_items") or [])]
    items += [item for phase in phases for item in phase["items"]]
    found = {str(params["currency"]).lower()} if "currency" in params else set()
    return found | {currency for item in items for currency in _currency(call.sandbox, item)}


def _currency(sandbox: Sandbox, item: Any) -> Iterator[str]:
    if "price_data" in item:
        yield str(item["price_data"]["currency"]).lower()
    elif (price := sandbox.store.find(item.get("price", ""))) is not None:
        yield price["currency"]


def _in_use(sandbox: Sandbox, customer: str) -> set[str]:
    """The currencies of a customer's subscriptions, pending invoice items and open pages for subscriptions."""
    live = [s for s in sandbox.store.where("subscription", customer=customer) if s["status"] not in _ENDED]
    pending = sandbox.store.where("invoiceitem", customer=customer, invoice=None)
    pages = sandbox.store.where("checkout.session", customer=customer, mode="subscription", status="open")
    return {str(obj["currency"]) for obj in (*live, *pending, *pages)}


def _mixed_currencies(call: Call) -> Values | None:
    customer = call.params.get("customer")
    if customer is None or call.params.get("mode", "subscription") != "subscription" or "invoice" in call.params:
        return None
    in_use = _in_use(call.sandbox, customer)
    others = in_use - _requested(call)
    return {"currency": sorted(others)[0]} if others and _requested(call) else None


def _subscription(call: Call) -> Obj:
    return call.sandbox.store.find(call.id) or {}


def _scheduled(call: Call) -> Values | None:
    schedule = _subscription(call).get("schedule")
    changed = {"cancel_at", "cancel_at_period_end"} & set(call.params)
    return {"schedule": schedule} if schedule is not None and changed else None


def _canceled(call: Call) -> Values | None:
    changed = set(call.params) - {"metadata", "cancellation_details"}
    return {} if _subscription(call).get("status") in _ENDED and changed else None


RULES = [
    Rule(
        name="one_currency_per_customer",
        calls=(_CREATE, _SCHEDULE, "POST /v1/checkout/sessions", "POST /v1/invoiceitems"),
        check=_mixed_currencies,
        message=(
            "You cannot combine currencies on a single customer. This customer has an active subscription, "
            "subscription schedule, discount, quote, invoice item or active subscription mode checkout session with "
            "currency {currency}."
        ),
        source="the message as copied from the API into public tests, 2026",
    ),
    Rule(
        name="cancellation_of_scheduled_subscription",
        calls=(_UPDATE,),
        check=_scheduled,
        message=(
            "The subscription is managed by the subscription schedule `{schedule}`, and updating any cancelation "
            "behavior directly is not allowed. Please update the schedule instead."
        ),
        source="the message as quoted by public code",
    ),
    Rule(
        name="update_of_canceled_subscription",
        calls=(_UPDATE,),
        check=_canceled,
        message="A canceled subscription can only update its cancellation_details and metadata.",
        code="invalid_canceled_subscription_fields",
        source="docs.stripe.com/error-codes#invalid-canceled-subscription-fields",
    ),
]
