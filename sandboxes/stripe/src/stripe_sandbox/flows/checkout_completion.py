"""A checkout session at its end: what it made, what it says of the customer, and its events."""

import stripe

from stripe_sandbox.clock import DAY
from stripe_sandbox.flows import discounts, invoicing, payment_methods, subscribing, taxes
from stripe_sandbox.flows.customers import create_customer
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


def customer_for(sandbox: Sandbox, session: Obj) -> str | None:
    """The customer that the session pays for: the given one, one made now, or none (a guest)."""
    plan = sandbox.hidden.checkouts[session["id"]]
    if plan.customer is None and session["customer"] is not None:
        plan.customer = session["customer"]
    elif plan.customer is None and (plan.wants_customer or session["mode"] == "subscription"):
        plan.customer = create_customer(sandbox, email=plan.email, name=plan.name)["id"]
    return plan.customer


def _required_customer(sandbox: Sandbox, session: Obj) -> str:
    """The customer of a session that cannot do without one."""
    sandbox.hidden.checkouts[session["id"]].wants_customer = True
    return str(customer_for(sandbox, session))


def start_subscription(sandbox: Sandbox, session: Obj, intent: Obj | None) -> Obj:
    """The subscription of a session and its first invoice, finalized with the intent that has just been tried."""
    plan = sandbox.hidden.checkouts[session["id"]]
    data = plan.subscription_data
    customer = _required_customer(sandbox, session)
    method = sandbox.store.find(intent["payment_method"]) if intent else None
    if method is not None:
        payment_methods.attach(sandbox, method, customer)
    trial_end = trial_end_of(sandbox, data, customer)
    subscription = subscribing.create(
        sandbox,
        customer=customer,
        prices=[(line.price, line.quantity) for line in plan.lines if line.price["recurring"]],
        status="trialing" if trial_end else "active",
        trial_end=trial_end,
        metadata=dict(data.get("metadata") or {}),
        description=data.get("description"),
        default_payment_method=method["id"] if method else None,
        automatic_tax=session["automatic_tax"],
    )
    if plan.discount is not None:
        subscribing.add_discount(sandbox, subscription, plan.discount, plan.promotion_code)
    one_time = _one_time_lines(sandbox, session, customer)
    session.update(subscription=subscription["id"], customer=customer)
    invoice = _announce_start(sandbox, subscription, one_time)
    session["invoice"] = invoice["id"]
    invoicing.finalize(sandbox, invoice, paid_by=intent)
    return subscription


def trial_end_of(sandbox: Sandbox, data: Obj, customer: str | None) -> int | None:
    """When the trial that `subscription_data` asks for ends; none without a trial."""
    if "trial_end" in data:
        return int(data["trial_end"])
    if days := data.get("trial_period_days"):
        return sandbox.clock.now_for(customer) + int(days) * DAY
    return None


def invoice_payment(sandbox: Sandbox, session: Obj, intent: Obj | None) -> None:
    """The invoice that `invoice_creation` asks for, made once the payment has succeeded (or nothing was due)."""
    plan = sandbox.hidden.checkouts[session["id"]]
    if plan.invoice_data is None or session["mode"] != "payment":
        return
    customer = _required_customer(sandbox, session)
    applied = []
    if plan.discount is not None:
        made = discounts.discount(sandbox, plan.discount, promotion_code=plan.promotion_code, customer=customer)
        applied = [made["id"]]
    invoice = invoicing.draft(
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
    invoicing.finalize(sandbox, invoice, paid_by=intent)
    if invoice["status"] == "open":
        invoicing.pay(sandbox, invoice, attempted=True)
    session["invoice"] = invoice["id"]


def complete(sandbox: Sandbox, session: Obj, payment_status: str) -> None:
    """The customer is through; says checkout.session.completed."""
    plan = sandbox.hidden.checkouts[session["id"]]
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


def settled_later(sandbox: Sandbox, session: Obj, *, paid: bool) -> None:
    """A bank debit of a completed session has settled or failed."""
    if paid:
        session["payment_status"] = "paid"
    sandbox.emit(f"checkout.session.async_payment_{'succeeded' if paid else 'failed'}", session)


def expire(sandbox: Sandbox, session: Obj) -> None:
    """Nobody can pay it any more; a payment intent that was tried is canceled with it."""
    session.update(status="expired", url=None)
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


def _announce_start(sandbox: Sandbox, subscription: Obj, extra: list[Obj]) -> Obj:
    """customer.subscription.created comes before invoice.created, and already names the invoice."""
    with sandbox.events.held() as held:
        invoice = subscribing.draft_invoice(
            sandbox, subscription, "subscription_create", extra=extra, pending=False, auto_advance=True
        )
        held.first("customer.subscription.created", subscription)
    return invoice


def _one_time_lines(sandbox: Sandbox, session: Obj, customer: str) -> list[Obj]:
    plan = sandbox.hidden.checkouts[session["id"]]
    lines = []
    for line in plan.lines:
        if line.price["recurring"]:
            continue
        item = invoicing.invoice_item(
            sandbox,
            customer=customer,
            amount=(line.price["unit_amount"] or 0) * line.quantity,
            currency=line.price["currency"],
            description=line.item["description"],
            quantity=line.quantity,
        )
        lines.append(invoicing.item_line(item, line.price))
    return lines
