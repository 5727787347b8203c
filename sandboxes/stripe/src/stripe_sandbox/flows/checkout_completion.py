"""Completion and expiry of a checkout session, and the objects that it creates."""

from __future__ import annotations

import stripe

from stripe_sandbox.clock import DAY
from stripe_sandbox.flows import discounts, invoice_lines, invoices, payment_methods, payments, subscriptions, taxes
from stripe_sandbox.flows.customers import create_customer
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


def customer_for(sandbox: Sandbox, session: Obj) -> str | None:
    """The session's customer, created if required; None for a guest."""
    plan = sandbox.internal.checkouts[session["id"]]
    if plan.customer is None and session["customer"] is not None:
        plan.customer = session["customer"]
    elif plan.customer is None and (plan.requires_customer or session["mode"] == "subscription"):
        plan.customer = create_customer(sandbox, email=plan.email, name=plan.name)["id"]
    return plan.customer


def _required_customer(sandbox: Sandbox, session: Obj) -> str:
    """The session's customer, created if there is none."""
    sandbox.internal.checkouts[session["id"]].requires_customer = True
    return str(customer_for(sandbox, session))


def start_subscription(sandbox: Sandbox, session: Obj, intent: Obj | None) -> Obj:
    """Creates the session's subscription, and finalizes its first invoice with the attempted intent."""
    plan = sandbox.internal.checkouts[session["id"]]
    data = plan.subscription_data
    customer = _required_customer(sandbox, session)
    method = sandbox.store.find(intent["payment_method"]) if intent else None
    if method is not None:
        payment_methods.attach(sandbox, method, customer)
    trial_end = trial_end_of(sandbox, data, customer)
    subscription = subscriptions.create(
        sandbox,
        customer=customer,
        prices=[(line.price, line.quantity) for line in plan.lines if line.price["recurring"]],
        status="trialing" if trial_end else "active",
        trial_end=trial_end,
        metadata=dict(data.get("metadata") or {}),
        description=data.get("description"),
        default_payment_method=method["id"] if method else None,
        automatic_tax=session["automatic_tax"],
        billing_mode=data.get("billing_mode"),
    )
    if plan.discount is not None:
        subscriptions.add_discount(sandbox, subscription, plan.discount, plan.promotion_code)
    one_time = _one_time_lines(sandbox, session, customer)
    session.update(subscription=subscription["id"], customer=customer)
    invoice = _draft_first_invoice(sandbox, subscription, one_time)
    session["invoice"] = invoice["id"]
    invoices.finalize(sandbox, invoice, paid_by=intent)
    return subscription


def trial_end_of(sandbox: Sandbox, data: Obj, customer: str | None) -> int | None:
    """The trial end requested by `subscription_data`; None without a trial."""
    if "trial_end" in data:
        return int(data["trial_end"])
    if days := data.get("trial_period_days"):
        return sandbox.clock.now_for(customer) + int(days) * DAY
    return None


def invoice_payment(sandbox: Sandbox, session: Obj, intent: Obj | None) -> None:
    """Creates the invoice requested by `invoice_creation`, once the payment succeeded or nothing was due."""
    plan = sandbox.internal.checkouts[session["id"]]
    if plan.invoice_data is None or session["mode"] != "payment":
        return
    customer = _required_customer(sandbox, session)
    applied = []
    if plan.discount is not None:
        created = discounts.discount(sandbox, plan.discount, promotion_code=plan.promotion_code, customer=customer)
        applied = [created["id"]]
    invoice = invoices.draft(
        sandbox,
        customer=customer,
        currency=session["currency"],
        lines=_one_time_lines(sandbox, session, customer),
        description=plan.invoice_data.get("description"),
        footer=plan.invoice_data.get("footer") or None,
        custom_fields=plan.invoice_data.get("custom_fields") or None,
        metadata=dict(plan.invoice_data.get("metadata") or {}),
        discounts=applied,
        automatic_tax=taxes.setting(stripe.Invoice.AutomaticTax, session["automatic_tax"]),
    )
    invoices.finalize(sandbox, invoice, paid_by=intent)
    if invoice["status"] == "open":
        invoices.pay(sandbox, invoice, attempted=True)
    session["invoice"] = invoice["id"]


def complete(sandbox: Sandbox, session: Obj, payment_status: str) -> None:
    """Completes the session. Emits checkout.session.completed."""
    plan = sandbox.internal.checkouts[session["id"]]
    session.update(
        status="complete",
        payment_status=payment_status,
        payment_intent=plan.intent if session["mode"] == "payment" else None,
        customer=customer_for(sandbox, session),
        customer_details=details_of(plan.email, plan.name),
        url=None,
    )
    if plan.discount is not None:
        discounts.redeem(sandbox, plan.discount, plan.promotion_code)
    sandbox.emit("checkout.session.completed", session)


def finish_async_payment(sandbox: Sandbox, session: Obj, *, paid: bool) -> None:
    """Handles the final result of a completed session's bank debit."""
    if paid:
        session["payment_status"] = "paid"
    sandbox.emit(f"checkout.session.async_payment_{'succeeded' if paid else 'failed'}", session)


def expire(sandbox: Sandbox, session: Obj) -> None:
    """Expires the session and cancels its intent. Emits checkout.session.expired."""
    session.update(status="expired", url=None)
    plan = sandbox.internal.checkouts[session["id"]]
    intent = sandbox.store.find(plan.intent) if plan.intent else None
    if intent is not None and intent["status"] in ("requires_payment_method", "requires_action"):
        payments.cancel(sandbox, intent, "expired")
    sandbox.emit("checkout.session.expired", session)


def details_of(email: str | None, name: str | None = None) -> Obj:
    """`customer_details` of a session."""
    address = {"city": None, "country": "US", "line1": None, "line2": None, "postal_code": None, "state": None}
    return {
        "address": address,
        "business_name": None,
        "email": email,
        "individual_name": None,
        "name": name,
        "phone": None,
        "tax_exempt": "none",
        "tax_ids": [],
    }


def _draft_first_invoice(sandbox: Sandbox, subscription: Obj, extra: list[Obj]) -> Obj:
    """Emits customer.subscription.created before invoice.created, but with `latest_invoice` set."""
    mark = sandbox.events.mark()
    invoice = subscriptions.draft_invoice(
        sandbox, subscription, "subscription_create", extra=extra, pending=False, auto_advance=True
    )
    mark.emit("customer.subscription.created", subscription)
    return invoice


def _one_time_lines(sandbox: Sandbox, session: Obj, customer: str) -> list[Obj]:
    plan = sandbox.internal.checkouts[session["id"]]
    lines = []
    for line in plan.lines:
        if line.price["recurring"]:
            continue
        item = invoice_lines.invoice_item(
            sandbox,
            customer=customer,
            amount=(line.price["unit_amount"] or 0) * line.quantity,
            currency=line.price["currency"],
            description=line.item["description"],
            quantity=line.quantity,
        )
        lines.append(invoice_lines.item_line(item, line.price))
    return lines
