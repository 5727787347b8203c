"""Builds objects with exactly the fields that the SDK's resource class declares.

Nullable fields default to null, the others are required, and undeclared fields are an error, so objects cannot drift
from the SDK.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, get_args

from stripe_sandbox.store import Obj

# Stripe omits these unless expanded or applicable.
_OMITTED = {
    "*": {"deleted"},
    "charge": {"refunds", "level3", "authorization_code", "transfer", "radar_options", "presentment_details"},
    "checkout.session": {"line_items", "optional_items", "presentment_details", "redirect_on_completion", "return_url"},
    "coupon": {"applies_to", "currency_options"},
    "customer": {"cash_balance", "invoice_credit_balance", "sources", "subscriptions", "tax", "tax_ids"},
    "dispute": {"intended_submission_method"},
    "invoice": {"payments", "confirmation_secret", "threshold_reason", "amount_paid_off_stripe"},
    "payment_intent": {"presentment_details", "hooks", "payment_details", "payment_record"},
    "plan": {"tiers"},
    "price": {"currency_options", "tiers"},
    "refund": {"instructions_email", "next_action", "presentment_details", "failure_reason", "pending_reason"},
    "setup_intent": {"attach_to_self", "flow_directions"},
    "subscription": {"presentment_details"},
    "webhook_endpoint": {"secret"},
}


@lru_cache
def _fields(resource: type) -> tuple[frozenset[str], frozenset[str]]:
    """(all fields, nullable fields) of a resource class."""
    every, nullable = set(), set()
    for name, annotation in resource.__annotations__.items():
        if name.startswith("_") or name == "OBJECT_NAME":
            continue
        every.add(name)
        if type(None) in get_args(annotation):
            nullable.add(name)
    return frozenset(every), frozenset(nullable)


def build(resource: type, **values: Any) -> Obj:
    """An object of `resource`. Raises TypeError for undeclared or missing fields."""
    every, nullable = _fields(resource)
    object_name = getattr(resource, "OBJECT_NAME", None)
    obj: Obj = {"id": values.pop("id")} if "id" in values else {}
    if object_name is not None:
        obj["object"] = object_name
    if "livemode" in every:
        obj["livemode"] = False
    obj.update(values)
    if unknown := set(values) - every:
        raise TypeError(f"{resource.__name__} does not declare {sorted(unknown)}")
    # The SDK cannot parse maps of objects (currency_options) if they are null.
    omitted = _OMITTED["*"] | _OMITTED.get(str(object_name), set()) | set(getattr(resource, "_inner_class_dicts", []))
    obj.update({name: None for name in sorted(nullable - omitted) if name not in obj})
    if missing := every - set(obj) - omitted:
        raise TypeError(f"{resource.__name__} requires {sorted(missing)}")
    return obj


def part(resource: type, **values: Any) -> Obj:
    """A nested hash of an object."""
    return build(resource, **values)


def snapshot_list(data: list[Obj], url: str, *, has_more: bool = False) -> Obj:
    """A list within another object."""
    return {"object": "list", "data": data, "has_more": has_more, "url": url}
