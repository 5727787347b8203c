"""Objects with every field that the SDK's resource class declares.

Writing the fields down once more would drift from the SDK; so the class is asked. A nullable field that is not given is
null, a field that must have a value must be given, and a field the class does not know is a mistake in the sandbox.
"""

from functools import lru_cache
from typing import Any, get_args

from stripe_sandbox.store import Obj

# Stripe leaves these out unless they are asked for with `expand`, or unless they apply.
_LEFT_OUT = {
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
    """(all fields, fields that may be null) of one resource class."""
    every, nullable = set(), set()
    for name, annotation in resource.__annotations__.items():
        if name.startswith("_") or name == "OBJECT_NAME":
            continue
        every.add(name)
        if type(None) in get_args(annotation):
            nullable.add(name)
    return frozenset(every), frozenset(nullable)


def build(resource: type, **values: Any) -> Obj:
    """One object of `resource`, in Stripe's shape. Raises TypeError for a field too many or too few."""
    every, nullable = _fields(resource)
    object_name = getattr(resource, "OBJECT_NAME", None)
    given: Obj = {"id": values.pop("id")} if "id" in values else {}
    if object_name is not None:
        given["object"] = object_name
    if "livemode" in every:
        given["livemode"] = False
    given.update(values)
    if unknown := set(values) - every:
        raise TypeError(f"{resource.__name__} has no {sorted(unknown)}")
    # Maps of objects (currency_options) are there or not; the SDK cannot read them as null.
    left_out = (
        _LEFT_OUT["*"] | _LEFT_OUT.get(str(object_name), set()) | set(getattr(resource, "_inner_class_dicts", []))
    )
    given.update({name: None for name in sorted(nullable - left_out) if name not in given})
    if missing := every - set(given) - left_out:
        raise TypeError(f"{resource.__name__} needs {sorted(missing)}")
    return given


def part(resource: type, **values: Any) -> Obj:
    """A nested hash of an object: all its nullable fields, the given ones filled in."""
    return build(resource, **values)


def snapshot_list(data: list[Obj], url: str, *, has_more: bool = False) -> Obj:
    """A list object as it stands inside another object."""
    return {"object": "list", "data": data, "has_more": has_more, "url": url}
