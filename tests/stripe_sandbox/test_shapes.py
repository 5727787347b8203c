"""All objects in responses and events have exactly the fields of the SDK's resource classes."""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin

import stripe
from tests.stripe_sandbox.harness import LINE, SUCCESS, Operator, monthly, new_session
from tests.stripe_sandbox.in_process import DAY, InProcessSandbox

# Fields that Stripe omits unless expanded or applicable.
OPTIONAL = {
    "line_items", "refunds", "payments", "subscriptions", "sources", "tax", "tax_ids", "cash_balance", "level3",
    "confirmation_secret", "invoice_credit_balance", "currency_options", "tiers", "applies_to", "threshold_reason",
    "deleted", "secret", "presentment_details", "authorization_code", "transfer", "radar_options", "optional_items",
    "redirect_on_completion", "return_url", "intended_submission_method", "amount_paid_off_stripe", "hooks",
    "payment_details", "payment_record", "instructions_email", "next_action", "failure_reason", "pending_reason",
    "attach_to_self", "flow_directions",
}  # fmt: skip


def objects_in(value: Any) -> Any:
    """All nested hashes with an `object` type and an id."""
    if isinstance(value, dict):
        if isinstance(value.get("object"), str) and "id" in value:
            yield value
        for inner in value.values():
            yield from objects_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from objects_in(inner)


def nested(annotation: Any) -> Any:
    """The class of a nested hash or list of hashes; None for other types."""
    if get_origin(annotation) in (Union, types.UnionType):
        found = [nested(part) for part in get_args(annotation)]
        return next((part for part in found if part is not None), None)
    if get_origin(annotation) is list:
        return nested(get_args(annotation)[0])
    return annotation if isinstance(annotation, type) and issubclass(annotation, stripe.StripeObject) else None


def check(cls: Any, value: dict[str, Any], path: str, *, whole: bool) -> None:
    declared = {k: v for k, v in cls.__annotations__.items() if not k.startswith("_") and k != "OBJECT_NAME"}
    assert set(value) <= set(declared), f"{path} has {set(value) - set(declared)} not declared by {cls.__qualname__}"
    for name, annotation in declared.items():
        nullable = type(None) in get_args(annotation)
        if name not in value:
            assert name in OPTIONAL or not whole, f"{path}.{name} is missing"
            continue
        if value[name] is None:
            assert nullable or isinstance(annotation, str), f"{path}.{name} may not be null"
            continue
        allowed = [w for part in get_args(annotation) if get_origin(part) is Literal for w in get_args(part)]
        if get_origin(annotation) is Union and allowed and isinstance(value[name], str) and name not in ("type",):
            assert value[name] in allowed, f"{path}.{name} is {value[name]}, not one of {allowed}"
        inner = nested(annotation)
        if inner is None or inner.__name__ in ("UntypedStripeObject", "ListObject") or hasattr(inner, "OBJECT_NAME"):
            continue
        for entry in value[name] if isinstance(value[name], list) else [value[name]]:
            if isinstance(entry, dict) and inner.__annotations__:
                check(inner, entry, f"{path}.{name}", whole=False)


def check_all(value: dict[str, Any], where: str) -> set[str]:
    """Checks all objects in a value. Returns their types."""
    seen = set()
    for obj in objects_in(value):
        cls: Any = stripe._object_classes.get_object_class("V1", obj["object"])  # type: ignore[attr-defined]
        # A payment method has only the hash of its own type.
        check(cls, obj, f"{where}:{obj['object']}", whole=obj["object"] != "payment_method")
        seen.add(obj["object"])
    return seen


def test_all_objects_match_the_sdk(client: stripe.StripeClient, operator: Operator) -> None:
    product = client.v1.products.create({"name": "x"})
    coupon = client.v1.coupons.create({"percent_off": 10, "duration": "once"})
    client.v1.promotion_codes.create({"promotion": {"type": "coupon", "coupon": coupon.id}})
    paid = operator.pay(new_session(client, invoice_creation={"enabled": True}, discounts=[{"coupon": coupon.id}]).id)
    operator.pay(new_session(client).id, status=402, card="4000000000000002")
    operator.pay(new_session(client).id, card="4000002500003155")
    operator.pay(new_session(client).id, method="us_bank_account")
    charge = client.v1.charges.list({"payment_intent": paid["payment_intent"]}).data[0].id
    refund = client.v1.refunds.create({"charge": charge, "amount": 100})
    operator.do(f"/refunds/{refund.id}/fail")
    operator.do(f"/charges/{charge}/dispute")
    plan = new_session(client, mode="subscription", line_items=[{"price": monthly(client), "quantity": 1}])
    operator.pay(plan.id)
    subscription: Any = client.v1.checkout.sessions.retrieve(plan.id).subscription
    schedule = client.v1.subscription_schedules.create({"from_subscription": subscription})
    customer = client.v1.customers.create({"email": "x@example.org"})
    setup: Any = {"mode": "setup", "customer": customer.id, "currency": "usd", "success_url": SUCCESS}
    operator.pay(client.v1.checkout.sessions.create(setup).id)
    client.v1.billing_portal.sessions.create({"customer": customer.id})
    client.v1.invoice_items.create({"customer": customer.id, "amount": 100})
    clock = client.v1.test_helpers.test_clocks.create({"frozen_time": 1_800_000_000})
    client.v1.test_helpers.test_clocks.advance(clock.id, {"frozen_time": 1_800_000_001})
    client.v1.subscription_schedules.cancel(schedule.id)
    client.v1.products.update(product.id, {"name": "y"})

    seen: set[str] = set()
    for event in operator.all_events():
        check(stripe.Event, event, "event", whole=False)
        seen |= check_all(event["data"]["object"], event["type"])
    assert seen >= {
        "customer", "product", "price", "plan", "coupon", "promotion_code", "checkout.session", "payment_intent",
        "payment_method", "charge", "refund", "dispute", "balance_transaction", "subscription", "subscription_item",
        "subscription_schedule", "invoice", "line_item", "invoice_payment", "setup_intent", "test_helpers.test_clock",
    }  # fmt: skip


def test_prorations_taxes_and_credit_match_the_sdk(sandbox: InProcessSandbox) -> None:
    tax: Any = {"automatic_tax": {"enabled": True}}
    customer = sandbox.customer()
    items: Any = [{"price": sandbox.price(50_000)}]
    plan = sandbox.api.subscriptions.create({"customer": customer.id, "items": items, **tax})
    for amount, behavior in ((10_000, "always_invoice"), (20_000, "create_prorations")):
        changed = {"items": [{"id": plan["items"].data[0].id, "price": sandbox.price(amount)}]}
        sandbox.api.subscriptions.update(plan.id, {**changed, "proration_behavior": behavior})
    sandbox.api.checkout.sessions.create({"mode": "payment", "line_items": [LINE], "success_url": SUCCESS, **tax})
    sandbox.advance(40 * DAY)
    seen = set()
    for event in sandbox.new_events():
        seen |= check_all(event["data"]["object"], event["type"])
    for listed in (
        sandbox.api.checkout.sessions.list({}),
        sandbox.api.customers.balance_transactions.list(customer.id),
        sandbox.api.invoice_items.list({}),
        sandbox.api.invoices.list({"expand": ["data.confirmation_secret", "data.payments"]}),
    ):
        assert listed.data
        for obj in listed.data:
            seen |= check_all(obj.to_dict(), "list")
    assert seen >= {"invoiceitem", "customer_balance_transaction", "checkout.session", "invoice", "line_item"}
