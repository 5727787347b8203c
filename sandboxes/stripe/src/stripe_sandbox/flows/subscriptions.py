"""Subscriptions: items, billing periods, invoices, discounts and status changes."""

from __future__ import annotations

from typing import Any

import stripe

from stripe_sandbox.clock import next_boundary
from stripe_sandbox.flows import discounts, invoice_lines, invoices, payment_methods, taxes
from stripe_sandbox.ids import new_id
from stripe_sandbox.shapes import build, part, snapshot_list
from stripe_sandbox.state import Sandbox, copy_of
from stripe_sandbox.store import Obj

LIVE = ("active", "trialing", "past_due", "unpaid", "paused", "incomplete")


def create(
    sandbox: Sandbox,
    *,
    customer: str,
    prices: list[tuple[Obj, int]],
    status: str,
    trial_end: int | None = None,
    **values: Any,
) -> Obj:
    """Creates a subscription to (price, quantity) pairs; emits nothing. Its period starts now."""
    id, now = new_id("sub"), sandbox.clock.now_for(customer)
    recurring = prices[0][0]["recurring"]
    anchor = trial_end or now
    end = trial_end or next_boundary(anchor, now, recurring["interval"], recurring["interval_count"])
    values = {"collection_method": "charge_automatically", "metadata": {}, "discounts": [], **values}
    save_method = values.pop("save_default_payment_method", "off")
    subscription = build(
        stripe.Subscription,
        id=id,
        automatic_tax=taxes.setting(
            stripe.Subscription.AutomaticTax, values.pop("automatic_tax", None), complete=False
        ),
        billing_cycle_anchor=anchor,
        billing_mode=billing_mode(values.pop("billing_mode", None)),
        billing_schedules=[],
        cancel_at_period_end=values.pop("cancel_at_period_end", False),
        cancellation_details=part(stripe.Subscription.CancellationDetails),
        created=now,
        currency=prices[0][0]["currency"],
        customer=customer,
        default_tax_rates=[],
        invoice_settings=part(stripe.Subscription.InvoiceSettings, issuer={"type": "self"}),
        items=snapshot_list([], f"/v1/subscription_items?subscription={id}"),
        payment_settings=part(stripe.Subscription.PaymentSettings, save_default_payment_method=save_method),
        start_date=now,
        status=status,
        test_clock=sandbox.clock.test_clock_of(customer),
        trial_start=now if trial_end else None,
        trial_end=trial_end,
        trial_settings={"end_behavior": {"missing_payment_method": "create_invoice"}},
        **values,
    )
    subscription["items"]["data"] = [item(subscription, price, quantity, now, end) for price, quantity in prices]
    return sandbox.store.add(subscription)


def billing_mode(given: Any) -> Obj:
    """`billing_mode` of a subscription. Flexible is the default since 2025-09-30.clover."""
    mode = (given or {}).get("type", "flexible")
    shown = ((given or {}).get("flexible") or {}).get("proration_discounts", "included")
    flexible = {"proration_discounts": shown} if mode == "flexible" else None
    return part(stripe.Subscription.BillingMode, type=mode, flexible=flexible)


def item(subscription: Obj, price: Obj, quantity: int, start: int, end: int) -> Obj:
    """A subscription item. The billing period is a property of the item, not of the subscription."""
    return build(
        stripe.SubscriptionItem,
        id=new_id("si", 14),
        created=start,
        current_period_start=start,
        current_period_end=end,
        discounts=[],
        metadata={},
        plan=_plan(price),
        price=copy_of(price),
        quantity=quantity,
        subscription=subscription["id"],
        tax_rates=[],
    )


def period(subscription: Obj) -> tuple[int, int]:
    """(start, end) of the current billing period."""
    first = subscription["items"]["data"][0]
    return first["current_period_start"], first["current_period_end"]


def advance_period(subscription: Obj) -> None:
    """Moves the items to the next billing period."""
    first = subscription["items"]["data"][0]
    recurring, start = first["price"]["recurring"], first["current_period_end"]
    end = next_boundary(subscription["billing_cycle_anchor"], start, recurring["interval"], recurring["interval_count"])
    set_period(subscription, start, end)


def set_period(subscription: Obj, start: int, end: int) -> None:
    for entry in subscription["items"]["data"]:
        entry.update(current_period_start=start, current_period_end=end)


def draft_invoice(
    sandbox: Sandbox,
    subscription: Obj,
    reason: str,
    *,
    extra: list[Obj] | None = None,
    pending: bool = True,
    **values: Any,
) -> Obj:
    """Drafts the invoice of the current period. Emits invoice.created. Trial periods are free.

    `pending`: include pending invoice items of this subscription or of none.
    """
    start, end = period(subscription)
    pending_lines = [invoice_lines.item_line(item) for item in _pending_items(sandbox, subscription)] if pending else []
    lines = [_line(sandbox, subscription, entry) for entry in subscription["items"]["data"]]
    return _draft(
        sandbox,
        subscription,
        reason,
        [*pending_lines, *lines, *(extra or [])],
        discounts=_take_discounts(sandbox, subscription),
        period_start=start,
        period_end=end if reason == "subscription_create" else start,
        **values,
    )


def draft_prorations(sandbox: Sandbox, subscription: Obj, items: list[Obj]) -> Obj:
    """Drafts an invoice of prorations only."""
    now = sandbox.clock.now_for(subscription["customer"])
    return _draft(
        sandbox,
        subscription,
        "subscription_update",
        [invoice_lines.item_line(item) for item in items],
        auto_advance=True,
        discounts=_take_discounts(sandbox, subscription),
        period_start=now,
        period_end=now,
    )


def draft_pending_items(sandbox: Sandbox, subscription: Obj) -> Obj | None:
    """Drafts the final invoice of a canceled subscription; None without pending items."""
    items = _pending_items(sandbox, subscription)
    return draft_prorations(sandbox, subscription, items) if items else None


def _draft(sandbox: Sandbox, subscription: Obj, reason: str, lines: list[Obj], **values: Any) -> Obj:
    invoice = invoices.draft(
        sandbox,
        customer=subscription["customer"],
        currency=subscription["currency"],
        lines=lines,
        subscription=subscription,
        automatic_tax=taxes.setting(stripe.Invoice.AutomaticTax, subscription["automatic_tax"]),
        billing_reason=reason,
        collection_method=subscription["collection_method"],
        days_until_due=subscription["days_until_due"],
        default_payment_method=None,
        description=subscription["description"],
        **values,
    )
    subscription["latest_invoice"] = invoice["id"]
    return invoice


def _pending_items(sandbox: Sandbox, subscription: Obj) -> list[Obj]:
    """Invoice items for the subscription's next invoice."""
    found = sandbox.store.where(
        "invoiceitem", customer=subscription["customer"], invoice=None, currency=subscription["currency"]
    )
    mine = (None, subscription["id"])
    return [i for i in found if (i["parent"] and i["parent"]["subscription_details"]["subscription"]) in mine]


def subscription_of(sandbox: Sandbox, invoice: Obj) -> Obj | None:
    """The subscription of an invoice, if any."""
    details = (invoice["parent"] or {}).get("subscription_details")
    return sandbox.store.find(details["subscription"]) if details else None


def change_status(sandbox: Sandbox, subscription: Obj, status: str) -> None:
    """Sets the status. Emits customer.subscription.updated if it changed."""
    if subscription["status"] == status:
        return
    before = copy_of(subscription)
    subscription["status"] = status
    sandbox.emit("customer.subscription.updated", subscription, before)


def activate_if_paid_up(sandbox: Sandbox, subscription: Obj, method: Obj | None = None) -> None:
    """Activates the subscription after a payment, unless another attempted invoice is open."""
    before = copy_of(subscription)
    _save_default_method(subscription, method)
    if _is_paid_up(sandbox, subscription):
        subscription["status"] = "active"
    if before != subscription:
        sandbox.emit("customer.subscription.updated", subscription, before)


def activate_on_processing(sandbox: Sandbox, invoice: Obj, intent: Obj) -> None:
    """Activates an incomplete subscription while the bank debit for its first invoice is processing."""
    subscription = subscription_of(sandbox, invoice)
    if subscription is None or subscription["status"] != "incomplete":
        return
    before = copy_of(subscription)
    method = sandbox.store.get("payment_method", intent["payment_method"])
    payment_methods.attach(sandbox, method, subscription["customer"])
    _save_default_method(subscription, method)
    subscription["status"] = "active"
    sandbox.emit("customer.subscription.updated", subscription, before)


def expire_incomplete(sandbox: Sandbox, subscription: Obj) -> None:
    """Expires a subscription whose first invoice was not paid within 23 hours."""
    before = copy_of(subscription)
    subscription.update(status="incomplete_expired", ended_at=sandbox.clock.now_for(subscription["customer"]))
    sandbox.emit("customer.subscription.updated", subscription, before)
    first = sandbox.store.get("invoice", subscription["latest_invoice"])
    if first["status"] == "open":
        invoices.void(sandbox, first)


def _save_default_method(subscription: Obj, method: Obj | None) -> None:
    wanted = subscription["payment_settings"]["save_default_payment_method"] == "on_subscription"
    if method is not None and wanted:
        subscription["default_payment_method"] = method["id"]


def _is_paid_up(sandbox: Sandbox, subscription: Obj) -> bool:
    """Whether an unpaid subscription has no more attempted open invoices."""
    if subscription["status"] not in ("past_due", "unpaid", "incomplete"):
        return False
    owed = any(
        invoice["status"] == "open" and subscription_of(sandbox, invoice) is subscription and invoice["attempted"]
        for invoice in sandbox.store.where("invoice", customer=subscription["customer"])
    )
    return not owed


def cancel(sandbox: Sandbox, subscription: Obj, *, reason: str | None = "cancellation_requested") -> None:
    """Cancels immediately. Emits customer.subscription.deleted. Open invoices are no longer retried."""
    now = sandbox.clock.now_for(subscription["customer"])
    subscription.update(
        status="canceled",
        ended_at=now,
        canceled_at=subscription["canceled_at"] or now,
    )
    subscription["cancellation_details"]["reason"] = reason
    for invoice in sandbox.store.where("invoice", customer=subscription["customer"], status="open"):
        if subscription_of(sandbox, invoice) is subscription:
            invoice.update(auto_advance=False, next_payment_attempt=None)
    sandbox.emit("customer.subscription.deleted", subscription)


def _line(sandbox: Sandbox, subscription: Obj, entry: Obj) -> Obj:
    price, trial = entry["price"], subscription["status"] == "trialing"
    details = {
        "invoice_item": None,
        "proration": False,
        "proration_details": {"credited_items": None},
        "subscription": subscription["id"],
        "subscription_item": entry["id"],
    }
    created = invoice_lines.line(
        amount=0 if trial else (price["unit_amount"] or 0) * (entry["quantity"] or 1),
        currency=price["currency"],
        description=f"{entry['quantity']} × {_product_name(sandbox, price)}",
        quantity=entry["quantity"],
        price=price,
        parent={
            "type": "subscription_item_details",
            "subscription_item_details": details,
            "invoice_item_details": None,
        },
        period={"start": entry["current_period_start"], "end": entry["current_period_end"]},
    )
    created["metadata"] = dict(subscription["metadata"])
    return created


def _product_name(sandbox: Sandbox, price: Obj) -> str:
    """The product name for display; nickname or id if the product was deleted."""
    product = sandbox.store.find(price["product"])
    return str(product["name"] if product else price["nickname"] or price["product"])


def _take_discounts(sandbox: Sandbox, subscription: Obj) -> list[str]:
    """Discounts for the next invoice. Removes expired and `once` discounts from the subscription."""
    now, kept, used = sandbox.clock.now_for(subscription["customer"]), [], []
    for id in subscription["discounts"]:
        applied = sandbox.store.get("discount", id)
        coupon = sandbox.store.get("coupon", applied["source"]["coupon"])
        if applied["end"] is not None and applied["end"] <= now:
            continue
        used.append(id)
        if coupon["duration"] != "once":
            kept.append(id)
    subscription["discounts"] = kept
    return used


def add_discount(sandbox: Sandbox, subscription: Obj, coupon: Obj, promotion_code: str | None = None) -> None:
    applied = discounts.discount(
        sandbox,
        coupon,
        promotion_code=promotion_code,
        subscription=subscription["id"],
        customer=subscription["customer"],
    )
    if coupon["duration"] == "repeating":
        start = sandbox.clock.now_for(subscription["customer"])
        applied["end"] = next_boundary(start, start, "month", coupon["duration_in_months"])
    subscription["discounts"] = [*subscription["discounts"], applied["id"]]


def _plan(price: Obj) -> Obj:
    recurring = price["recurring"]
    return build(
        stripe.Plan,
        id=price["id"],
        active=price["active"],
        amount=price["unit_amount"],
        amount_decimal=price["unit_amount_decimal"],
        billing_scheme=price["billing_scheme"],
        created=price["created"],
        currency=price["currency"],
        interval=recurring["interval"],
        interval_count=recurring["interval_count"],
        metadata=dict(price["metadata"]),
        nickname=price["nickname"],
        product=price["product"],
        usage_type=recurring["usage_type"],
    )
