"""/v1/subscriptions"""

from __future__ import annotations

from typing import Any

import stripe
import stripe.params as p

from stripe_sandbox.clock import DAY
from stripe_sandbox.errors import StripeError, card_error, missing_param, no_such
from stripe_sandbox.flows import (
    collection,
    discounts,
    invoices,
    payment_methods,
    plan_changes,
    prices,
    proration,
    subscription_schedules,
    subscriptions,
    taxes,
)
from stripe_sandbox.operation import Call, Operation, retrieve
from stripe_sandbox.paging import matching, page
from stripe_sandbox.params import Params, merge_metadata
from stripe_sandbox.state import Sandbox, copy_of
from stripe_sandbox.store import Obj

_PAYMENT_SETTINGS = ("save_default_payment_method", "payment_method_types")


def create(call: Call) -> Obj:
    params, sandbox = call.params, call.sandbox
    if "customer" not in params:
        raise missing_param("customer")
    if not params.get("items"):
        raise missing_param("items")
    customer = sandbox.store.param("customer", params["customer"], "customer")["id"]
    items = [(_recurring(sandbox, e, f"items[{i}]"), e.get("quantity", 1)) for i, e in enumerate(params["items"])]
    collection_method = params.get("collection_method", "charge_automatically")
    if collection_method == "send_invoice" and "days_until_due" not in params:
        raise missing_param("days_until_due")
    method = _default_method(sandbox, params)
    trial_end = _trial_end(sandbox, params, customer)
    _require_method(sandbox, params, customer, method, trial_end)
    subscription = subscriptions.create(
        sandbox,
        customer=customer,
        prices=items,
        status="trialing" if trial_end else ("active" if collection_method == "send_invoice" else "incomplete"),
        trial_end=trial_end,
        cancel_at_period_end=params.get("cancel_at_period_end", False),
        cancel_at=params["cancel_at"] if isinstance(params.get("cancel_at"), int) else None,
        collection_method=collection_method,
        days_until_due=params.get("days_until_due"),
        default_payment_method=method,
        description=params.get("description"),
        metadata=merge_metadata({}, params.get("metadata")),
        save_default_payment_method=(params.get("payment_settings") or {}).get("save_default_payment_method", "off"),
        automatic_tax=params.get("automatic_tax"),
        billing_mode=params.get("billing_mode"),
    )
    _apply_discounts(sandbox, subscription, params)
    _first_invoice(sandbox, subscription, params.get("payment_behavior", "allow_incomplete"))
    return subscription


def update(call: Call) -> Obj:
    sandbox, params = call.sandbox, call.params
    subscription = sandbox.store.get("subscription", call.id)
    before = copy_of(subscription)
    for name in ("description", "cancel_at_period_end", "days_until_due", "collection_method"):
        if name in params:
            subscription[name] = params[name] if params[name] != "" else None
    if "metadata" in params:
        subscription["metadata"] = merge_metadata(subscription["metadata"], params["metadata"])
    if "default_payment_method" in params:
        subscription["default_payment_method"] = _default_method(sandbox, params)
    if "cancel_at" in params:
        subscription["cancel_at"] = params["cancel_at"] if isinstance(params["cancel_at"], int) else None
    if "pause_collection" in params:
        pause = params["pause_collection"]
        subscription["pause_collection"] = {"resumes_at": None, **pause} if pause else None
    if "payment_settings" in params:
        settings = params["payment_settings"] or {}
        subscription["payment_settings"].update({n: settings[n] for n in _PAYMENT_SETTINGS if n in settings})
    if "automatic_tax" in params:
        subscription["automatic_tax"] = taxes.setting(
            stripe.Subscription.AutomaticTax, params["automatic_tax"], complete=False
        )
    if params.get("trial_end") == "now":
        subscription["trial_end"] = sandbox.clock.now_for(subscription["customer"])
    _set_canceled_at(sandbox, subscription, before)
    _apply_discounts(sandbox, subscription, params)
    if "items" in params or _anchor_now(params):
        try:
            _change_items(sandbox, subscription, params, before)
        except StripeError:
            subscription.update(before)
            raise
    elif before != subscription:
        sandbox.emit("customer.subscription.updated", subscription, before)
    return subscription


def cancel(call: Call) -> Obj:
    subscription = call.sandbox.store.get("subscription", call.id)
    if subscription["status"] in ("canceled", "incomplete_expired"):
        raise StripeError(f"No such subscription: '{call.id}'", status=404, code="resource_missing", param="id")
    details = call.params.get("cancellation_details") or {}
    subscription["cancellation_details"].update({k: v or None for k, v in details.items()})
    items = subscription["items"]["data"]
    if call.params.get("prorate"):
        now = call.sandbox.clock.now_for(subscription["customer"])
        proration.prorate(call.sandbox, subscription, items, [], now, charge_new=False)
    subscriptions.cancel(call.sandbox, subscription)
    if call.params.get("invoice_now") and (last := subscriptions.draft_pending_items(call.sandbox, subscription)):
        collection.finalize_and_collect(call.sandbox, last)
    subscription_schedules.end_with_subscription(call.sandbox, subscription, delinquent=False)
    return subscription


def pause(call: Call) -> Obj:
    """Pauses the subscription: no invoices until it is resumed."""
    subscription = call.sandbox.store.get("subscription", call.id)
    _require_not_canceled(subscription)
    if subscription["status"] == "paused":
        raise StripeError("This subscription is already paused.")
    before = copy_of(subscription)
    subscription["status"] = "paused"
    call.sandbox.emit("customer.subscription.updated", subscription, before)
    call.sandbox.emit("customer.subscription.paused", subscription)
    return subscription


def resume(call: Call) -> Obj:
    """Resumes with a new period now, or with the current one if `billing_cycle_anchor` is `unchanged`."""
    sandbox = call.sandbox
    subscription = sandbox.store.get("subscription", call.id)
    if subscription["status"] != "paused":
        raise StripeError("Only a paused subscription can be resumed.")
    before = copy_of(subscription)
    subscription["status"] = "active"
    anchor = (call.params.get("billing_cycle_anchor") or {}).get("type", "now")
    now = sandbox.clock.now_for(subscription["customer"])
    if anchor == "now" or subscriptions.period(subscription)[1] <= now:
        subscription["billing_cycle_anchor"] = now
        subscriptions.set_period(subscription, now, now)
        subscriptions.advance_period(subscription)
        _invoice_now(sandbox, subscription)
    sandbox.emit("customer.subscription.updated", subscription, before)
    sandbox.emit("customer.subscription.resumed", subscription)
    return subscription


def list_all(call: Call) -> Obj:
    """Without `status`, omits canceled subscriptions."""
    params = call.params
    found = matching(call.sandbox.store.all("subscription"), params, "customer", "collection_method")
    status = params.get("status")
    if status is None:
        found = [s for s in found if s["status"] != "canceled"]
    elif status == "ended":
        found = [s for s in found if s["status"] in ("canceled", "incomplete_expired")]
    elif status != "all":
        found = [s for s in found if s["status"] == status]
    if "price" in params:
        found = [s for s in found if any(i["price"]["id"] == params["price"] for i in s["items"]["data"])]
    return page(call, found, "/v1/subscriptions")


def _first_invoice(sandbox: Sandbox, subscription: Obj, behavior: str) -> None:
    mark = sandbox.events.mark()
    invoice = subscriptions.draft_invoice(sandbox, subscription, "subscription_create", auto_advance=True)
    mark.emit("customer.subscription.created", subscription)
    if subscription["collection_method"] == "send_invoice":
        invoice["automatically_finalizes_at"] = invoice["created"] + sandbox.settings.invoice_finalization_seconds
        return
    invoices.finalize(sandbox, invoice)
    if invoice["status"] == "open" and behavior != "default_incomplete":
        collection.collect(sandbox, invoice)
    if invoice["status"] == "paid":
        subscriptions.activate_if_paid_up(sandbox, subscription)
    elif behavior == "error_if_incomplete":
        raise card_error("Your card was declined.", code="card_declined")


def _invoice_now(sandbox: Sandbox, subscription: Obj) -> None:
    invoice = subscriptions.draft_invoice(sandbox, subscription, "subscription_update", auto_advance=True)
    collection.finalize_and_collect(sandbox, invoice)


def _recurring(sandbox: Sandbox, entry: Params, path: str) -> Obj:
    price = prices.resolve(sandbox, entry, path)
    if not price["recurring"]:
        raise StripeError(
            "The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`.",
            param=f"{path}[price]",
        )
    return price


def _default_method(sandbox: Sandbox, params: Params) -> Any:
    given = params.get("default_payment_method")
    return payment_methods.resolve(sandbox, given, "default_payment_method")["id"] if given else None


def _trial_end(sandbox: Sandbox, params: Params, customer: str) -> int | None:
    if isinstance(params.get("trial_end"), int):
        return int(params["trial_end"])
    days = params.get("trial_period_days")
    return sandbox.clock.now_for(customer) + days * DAY if days else None


def _require_method(sandbox: Sandbox, params: Params, customer: str, method: Any, trial_end: int | None) -> None:
    deferred = (
        params.get("payment_behavior") == "default_incomplete" or params.get("collection_method") == "send_invoice"
    )
    if method is None and trial_end is None and not deferred and payment_methods.default_of(sandbox, customer) is None:
        raise StripeError(
            "This customer has no attached payment source or default payment method. Please consider adding a default "
            "payment method.",
            code="resource_missing",
        )


def _require_not_canceled(subscription: Obj) -> None:
    if subscription["status"] in ("canceled", "incomplete_expired"):
        raise StripeError("A canceled subscription can only update its cancellation_details and metadata.")


def _set_canceled_at(sandbox: Sandbox, subscription: Obj, before: Obj) -> None:
    """`canceled_at` is when the cancellation was requested, not when it takes effect."""
    if subscription["cancel_at_period_end"] and not before["cancel_at_period_end"]:
        subscription["cancel_at"] = subscriptions.period(subscription)[1]
    elif before["cancel_at_period_end"] and not subscription["cancel_at_period_end"]:
        subscription["cancel_at"] = None
    scheduled = subscription["cancel_at_period_end"] or subscription["cancel_at"] is not None
    was_scheduled = before["cancel_at_period_end"] or before["cancel_at"] is not None
    if scheduled and not was_scheduled:
        subscription["canceled_at"] = sandbox.clock.now_for(subscription["customer"])
        subscription["cancellation_details"]["reason"] = "cancellation_requested"
    if was_scheduled and not scheduled:
        subscription["canceled_at"] = None
        subscription["cancellation_details"]["reason"] = None


def _apply_discounts(sandbox: Sandbox, subscription: Obj, params: Params) -> None:
    if params.get("discounts") == "":
        subscription["discounts"] = []
    for given in params.get("discounts") or []:
        code = None
        if "promotion_code" in given:
            code = sandbox.store.param("promotion_code", given["promotion_code"], "discounts[0][promotion_code]")
        coupon = (
            discounts.coupon_of(sandbox, code)
            if code
            else sandbox.store.param("coupon", given.get("coupon", ""), "discounts[0][coupon]")
        )
        subscriptions.add_discount(sandbox, subscription, coupon, code["id"] if code else None)
        discounts.redeem(sandbox, coupon, code["id"] if code else None)


def _items(sandbox: Sandbox, subscription: Obj, items: list[Params]) -> list[Obj]:
    """The subscription's items after a request; items that it omits are unchanged."""
    start, end = subscriptions.period(subscription)
    kept = {entry["id"]: entry for entry in subscription["items"]["data"]}
    for position, given in enumerate(items):
        if "id" in given and given["id"] not in kept:
            raise no_such("subscription_item", given["id"], param=f"items[{position}][id]", status=400)
        if given.get("deleted"):
            kept.pop(given.get("id", ""), None)
            continue
        old = kept.get(given.get("id", ""))
        new_price = "price" in given or "price_data" in given
        price = _recurring(sandbox, given, f"items[{position}]") if new_price else old and old["price"]
        if price is None:
            raise missing_param(f"items[{position}][price]")
        created = subscriptions.item(
            subscription, price, given.get("quantity", old["quantity"] if old else 1), start, end
        )
        if old is not None:
            created.update(id=old["id"], created=old["created"], metadata=old["metadata"])
        kept[created["id"]] = created
    _check_items(list(kept.values()))
    return list(kept.values())


def _check_items(items: list[Obj]) -> None:
    if not items:
        raise StripeError("A subscription must have at least one item.", param="items")
    if len({proration.interval(entry) for entry in items}) > 1:
        raise StripeError(
            "If a customer has multiple prices with different intervals, they cannot be on the same subscription.",
            param="items",
        )


def _anchor_now(params: Params) -> bool:
    return bool((params.get("billing_cycle_anchor") or {}).get("type") == "now")


def _change_items(sandbox: Sandbox, subscription: Obj, params: Params, before: Obj) -> None:
    """Changes the items and bills the change."""
    terms = plan_changes.Terms(
        behavior=params.get("proration_behavior", "create_prorations"),
        payment=params.get("payment_behavior", "allow_incomplete"),
        at=params.get("proration_date", sandbox.clock.now_for(subscription["customer"])),
        anchor_now=_anchor_now(params),
    )
    start, end = subscriptions.period(subscription)
    if not start <= terms.at <= end:
        raise StripeError(
            "Cannot specify proration date outside of current subscription period", param="proration_date"
        )
    items = _items(sandbox, subscription, params.get("items", []))
    plan_changes.change(sandbox, subscription, items, terms, before)


OPERATIONS = [
    Operation("POST", "/v1/subscriptions", p.SubscriptionCreateParams, create),
    Operation("GET", "/v1/subscriptions", p.SubscriptionListParams, list_all),
    Operation("GET", "/v1/subscriptions/{id}", p.SubscriptionRetrieveParams, retrieve("subscription")),
    Operation("POST", "/v1/subscriptions/{id}", p.SubscriptionUpdateParams, update),
    Operation("DELETE", "/v1/subscriptions/{id}", p.SubscriptionCancelParams, cancel),
    Operation("POST", "/v1/subscriptions/{id}/pause", p.SubscriptionPauseParams, pause),
    Operation("POST", "/v1/subscriptions/{id}/resume", p.SubscriptionResumeParams, resume),
]
