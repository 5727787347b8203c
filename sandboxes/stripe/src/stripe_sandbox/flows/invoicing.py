"""Invoices: their lines and sums, and their way from draft to paid.

An invoice and the payment intent that pays it know each other only through an invoice payment, as at Stripe since 2025.
"""

from typing import Any

import stripe

from stripe_sandbox.clock import DAY
from stripe_sandbox.flows import discounts, payments
from stripe_sandbox.ids import new_id, random_text
from stripe_sandbox.methods import INVOICE_METHODS
from stripe_sandbox.shapes import build, part, snapshot_list
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


def draft(sandbox: Sandbox, *, customer: str, currency: str, lines: list[Obj], **values: Any) -> Obj:
    """A new draft with these lines; says invoice.created. `days_until_due` counts from now."""
    id, now = new_id("in"), sandbox.clock.now_for(customer)
    holder = sandbox.store.get("customer", customer)
    if (days := values.pop("days_until_due", None)) is not None:
        values["due_date"] = now + days * DAY
    subscription: Obj | None = values.pop("subscription", None)
    values = {
        "auto_advance": False,
        "billing_reason": "manual",
        "collection_method": "charge_automatically",
        "metadata": {},
        "period_end": now,
        "period_start": now,
        "discounts": [],
        **values,
    }
    invoice = build(
        stripe.Invoice,
        id=id,
        account_country="US",
        account_name="Bursar sandbox",
        amount_due=0,
        amount_overpaid=0,
        amount_paid=0,
        amount_remaining=0,
        amount_shipping=0,
        attempt_count=0,
        attempted=False,
        automatic_tax=part(stripe.Invoice.AutomaticTax, enabled=False),
        created=now,
        currency=currency,
        customer=customer,
        customer_email=holder["email"],
        customer_name=holder["name"],
        customer_phone=holder["phone"],
        customer_tax_exempt="none",
        customer_tax_ids=[],
        default_tax_rates=[],
        issuer={"type": "self"},
        lines=snapshot_list([], f"/v1/invoices/{id}/lines"),
        parent=_parent(subscription),
        payment_settings=part(stripe.Invoice.PaymentSettings),
        post_payment_credit_notes_amount=0,
        pre_payment_credit_notes_amount=0,
        starting_balance=0,
        status="draft",
        status_transitions=part(stripe.Invoice.StatusTransitions),
        subtotal=0,
        test_clock=holder["test_clock"],
        total=0,
        **values,
    )
    sandbox.store.add(invoice)
    add_lines(sandbox, invoice, lines)
    sandbox.emit("invoice.created", invoice)
    return invoice


def add_lines(sandbox: Sandbox, invoice: Obj, lines: list[Obj]) -> None:
    """Append lines to a draft and sum it up again."""
    for line in lines:
        line["invoice"] = invoice["id"]
    invoice["lines"]["data"] += lines
    subtotal = sum(line["amount"] for line in invoice["lines"]["data"])
    off = _discounted(sandbox, invoice, subtotal)
    total = subtotal - sum(entry["amount"] for entry in off)
    invoice.update(
        subtotal=subtotal,
        subtotal_excluding_tax=subtotal,
        total=total,
        total_excluding_tax=total,
        total_discount_amounts=off,
        amount_due=max(0, total),
        amount_remaining=max(0, total),
    )


def line(
    *, amount: int, currency: str, description: str | None, quantity: int, price: Obj | None, parent: Obj, period: Obj
) -> Obj:
    """One line. `amount` is for the whole quantity."""
    pricing = price and {
        "type": "price_details",
        "price_details": {"price": price["id"], "product": price["product"]},
        "unit_amount_decimal": str(price["unit_amount"]),
    }
    return build(
        stripe.InvoiceLineItem,
        id=new_id("il"),
        amount=amount,
        currency=currency,
        description=description,
        discount_amounts=[],
        discountable=True,
        discounts=[],
        metadata={},
        parent=parent,
        period=period,
        pretax_credit_amounts=[],
        pricing=pricing,
        quantity=quantity,
        subscription=(parent.get("subscription_item_details") or {}).get("subscription"),
        subtotal=amount,
        taxes=[],
    )


def item_line(item: Obj, price: Obj | None = None) -> Obj:
    """The line that an invoice item becomes."""
    details = {"invoice_item": item["id"], "proration": False, "proration_details": None, "subscription": None}
    parent = {"type": "invoice_item_details", "invoice_item_details": details, "subscription_item_details": None}
    made = line(
        amount=item["amount"],
        currency=item["currency"],
        description=item["description"],
        quantity=item["quantity"],
        price=price,
        parent=parent,
        period=dict(item["period"]),
    )
    made["metadata"] = dict(item["metadata"])
    return made


def finalize(sandbox: Sandbox, invoice: Obj, *, paid_by: Obj | None = None) -> None:
    """Draft to open: numbered, reachable, and with a payment intent (a given one, or a new one); a zero sum is paid."""
    now = sandbox.clock.now_for(invoice["customer"])
    holder = sandbox.store.get("customer", invoice["customer"])
    count = sandbox.hidden.invoice_counts[holder["id"]] = sandbox.hidden.invoice_counts.get(holder["id"], 0) + 1
    url = sandbox.url(f"/i/{invoice['id']}")
    invoice.update(
        status="open",
        number=f"{holder['invoice_prefix']}-{count:04d}",
        hosted_invoice_url=url,
        invoice_pdf=f"{url}/pdf",
        effective_at=now,
        automatically_finalizes_at=None,
    )
    invoice["status_transitions"]["finalized_at"] = now
    if invoice["amount_due"] > 0:
        _expect_payment(sandbox, invoice, paid_by)
    sandbox.emit("invoice.finalized", invoice)
    if invoice["amount_due"] == 0:
        pay(sandbox, invoice)


def pay(sandbox: Sandbox, invoice: Obj, *, attempted: bool = False) -> None:
    """The invoice is paid: by its payment intent, out of band, or because nothing is due."""
    now = sandbox.clock.now_for(invoice["customer"])
    invoice.update(
        status="paid",
        amount_paid=invoice["amount_due"],
        amount_remaining=0,
        attempted=True,
        attempt_count=invoice["attempt_count"] + (1 if attempted else 0),
        next_payment_attempt=None,
        auto_advance=False,
    )
    invoice["status_transitions"]["paid_at"] = now
    sandbox.emit("invoice.paid", invoice)
    sandbox.emit("invoice.payment_succeeded", invoice)
    for payment in sandbox.store.where("invoice_payment", invoice=invoice["id"], status="open"):
        payment.update(status="paid", amount_paid=payment["amount_requested"])
        payment["status_transitions"]["paid_at"] = now
        sandbox.emit("invoice_payment.paid", payment)


def pay_out_of_band(sandbox: Sandbox, invoice: Obj) -> None:
    """Paid with cash, check or transfer: the payment intent is not needed any more."""
    drop_payment(sandbox, invoice)
    pay(sandbox, invoice)


def drop_payment(sandbox: Sandbox, invoice: Obj) -> None:
    """Cancel the payment intent that an open invoice waits for."""
    now = sandbox.clock.now_for(invoice["customer"])
    for payment in list(sandbox.store.where("invoice_payment", invoice=invoice["id"], status="open")):
        payment["status"] = "canceled"
        payment["status_transitions"]["canceled_at"] = now
        intent = sandbox.store.get("payment_intent", payment["payment"]["payment_intent"])
        if intent["status"] not in ("succeeded", "canceled", "processing"):
            payments.cancel(sandbox, intent, "void_invoice")


def intent_of(sandbox: Sandbox, invoice: Obj) -> Obj | None:
    """The payment intent that an invoice waits for or was paid by."""
    for payment in sandbox.store.where("invoice_payment", invoice=invoice["id"]):
        if payment["status"] != "canceled":
            return sandbox.store.get("payment_intent", payment["payment"]["payment_intent"])
    return None


def invoice_of(sandbox: Sandbox, intent: Obj) -> Obj | None:
    """The invoice that a payment intent pays; none when it went with its test clock."""
    for payment in sandbox.store.all("invoice_payment"):
        if payment["payment"]["payment_intent"] == intent["id"]:
            return sandbox.store.find(payment["invoice"])
    return None


def invoice_item(sandbox: Sandbox, *, customer: str, amount: int, currency: str, **values: Any) -> Obj:
    """An invoice item; `values` may hold invoice, description, quantity, metadata, pricing, period."""
    now = sandbox.clock.now_for(customer)
    values = {"metadata": {}, "quantity": 1, "period": {"start": now, "end": now}, **values}
    return sandbox.store.add(
        build(
            stripe.InvoiceItem,
            id=new_id("ii"),
            amount=amount,
            currency=currency,
            customer=customer,
            date=now,
            discountable=True,
            discounts=[],
            net_amount=amount,
            proration=False,
            quantity_decimal=str(values["quantity"]),
            tax_rates=[],
            test_clock=sandbox.clock.test_clock_of(customer),
            **values,
        )
    )


def _expect_payment(sandbox: Sandbox, invoice: Obj, paid_by: Obj | None) -> None:
    reason = {"subscription_create": "Subscription creation", "subscription_cycle": "Subscription update"}
    intent = paid_by or payments.create_intent(
        sandbox,
        amount=invoice["amount_due"],
        currency=invoice["currency"],
        customer=invoice["customer"],
        description=reason.get(invoice["billing_reason"], f"Payment for Invoice {invoice['number']}"),
        payment_method_types=list(INVOICE_METHODS),
        setup_future_usage="off_session" if invoice["parent"] else None,
    )
    payment = build(
        stripe.InvoicePayment,
        id=new_id("inpay"),
        amount_requested=invoice["amount_due"],
        created=sandbox.clock.now_for(invoice["customer"]),
        currency=invoice["currency"],
        invoice=invoice["id"],
        is_default=True,
        payment={"type": "payment_intent", "payment_intent": intent["id"]},
        status="open",
        status_transitions=part(stripe.InvoicePayment.StatusTransitions),
    )
    sandbox.store.add(payment)


def _parent(subscription: Obj | None) -> Obj | None:
    if subscription is None:
        return None
    details = {
        "metadata": dict(subscription["metadata"]),
        "subscription": subscription["id"],
        "subscription_proration_date": None,
    }
    return {"type": "subscription_details", "quote_details": None, "subscription_details": details}


def _discounted(sandbox: Sandbox, invoice: Obj, subtotal: int) -> list[Obj]:
    off, left = [], subtotal
    for id in invoice["discounts"]:
        applied = sandbox.store.get("discount", id)
        amount = discounts.amount_off(sandbox.store.get("coupon", applied["source"]["coupon"]), left)
        left -= amount
        off.append({"amount": amount, "discount": id})
    return off


def invoice_prefix() -> str:
    """The prefix of a customer's invoice numbers."""
    return random_text(8).upper()
