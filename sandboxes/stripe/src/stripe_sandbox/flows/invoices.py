"""Invoices: lines, totals, and the transitions from draft to paid, void or uncollectible.

An invoice and its payment intent are linked only by an invoice payment, as in Stripe's API since 2025.
"""

from __future__ import annotations

from typing import Any

import stripe

from stripe_sandbox.clock import DAY
from stripe_sandbox.errors import StripeError
from stripe_sandbox.flows import balances, discounts, invoice_lines, payments, taxes
from stripe_sandbox.ids import new_id, random_text
from stripe_sandbox.methods import INVOICE_METHODS
from stripe_sandbox.shapes import build, part, snapshot_list
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


def draft(sandbox: Sandbox, *, customer: str, currency: str, lines: list[Obj], **values: Any) -> Obj:
    """Creates a draft with these lines. Emits invoice.created. `days_until_due` counts from now."""
    id, now = new_id("in"), sandbox.clock.now_for(customer)
    owner = sandbox.store.get("customer", customer)
    if (days := values.pop("days_until_due", None)) is not None:
        values["due_date"] = now + days * DAY
    subscription: Obj | None = values.pop("subscription", None)
    values = {
        "auto_advance": False,
        "automatic_tax": part(stripe.Invoice.AutomaticTax, enabled=False),
        "billing_reason": "manual",
        "collection_method": "charge_automatically",
        "metadata": {},
        "payment_settings": part(stripe.Invoice.PaymentSettings),
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
        created=now,
        currency=currency,
        customer=customer,
        customer_email=owner["email"],
        customer_name=owner["name"],
        customer_phone=owner["phone"],
        customer_tax_exempt="none",
        customer_tax_ids=[],
        default_tax_rates=[],
        issuer={"type": "self"},
        lines=snapshot_list([], f"/v1/invoices/{id}/lines"),
        parent=_parent(subscription),
        post_payment_credit_notes_amount=0,
        pre_payment_credit_notes_amount=0,
        starting_balance=0,
        status="draft",
        status_transitions=part(stripe.Invoice.StatusTransitions),
        subtotal=0,
        test_clock=owner["test_clock"],
        total=0,
        total_taxes=[],
        **values,
    )
    sandbox.store.add(invoice)
    add_lines(sandbox, invoice, lines)
    sandbox.emit("invoice.created", invoice)
    return invoice


def add_lines(sandbox: Sandbox, invoice: Obj, lines: list[Obj]) -> None:
    """Adds lines to a draft and recomputes its totals. Their invoice items are no longer pending."""
    for line in lines:
        line["invoice"] = invoice["id"]
        if (item := invoice_lines.item_of(sandbox, line)) is not None:
            item["invoice"] = invoice["id"]
    invoice["lines"]["data"] += lines
    recompute_totals(sandbox, invoice)


def recompute_totals(sandbox: Sandbox, invoice: Obj) -> None:
    """Recomputes subtotal, discounts, tax and total of a draft."""
    lines = invoice["lines"]["data"]
    subtotal = sum(line["amount"] for line in lines)
    off = _discount_amounts(sandbox, invoice, sum(line["amount"] for line in lines if line["discountable"]))
    net = subtotal - sum(entry["amount"] for entry in off)
    tax = _apply_taxes(sandbox, invoice, lines, net)
    total = net + sum(entry["amount"] for entry in tax)
    invoice.update(
        subtotal=subtotal,
        subtotal_excluding_tax=subtotal,
        total=total,
        total_excluding_tax=net,
        total_discount_amounts=off,
        total_taxes=tax,
        amount_due=max(0, total),
        amount_remaining=max(0, total),
    )


def finalize(sandbox: Sandbox, invoice: Obj, *, paid_by: Obj | None = None) -> None:
    """Finalizes a draft: number, hosted page, payment intent (`paid_by` or a new one). Paid if nothing is due.

    Raises the forced failure of the customer's next finalization, if any; the invoice remains a draft.
    """
    now = sandbox.clock.now_for(invoice["customer"])
    owner = sandbox.store.get("customer", invoice["customer"])
    _require_finalizable(sandbox, invoice)
    count = sandbox.internal.invoice_counts[owner["id"]] = sandbox.internal.invoice_counts.get(owner["id"], 0) + 1
    url = sandbox.url(f"/i/{invoice['id']}")
    invoice.update(
        status="open",
        number=f"{owner['invoice_prefix']}-{count:04d}",
        hosted_invoice_url=url,
        invoice_pdf=f"{url}/pdf",
        effective_at=now,
        automatically_finalizes_at=None,
        last_finalization_error=None,
    )
    invoice["status_transitions"]["finalized_at"] = now
    if paid_by is None:
        balances.apply(sandbox, invoice)
        balances.defer_small_amount(sandbox, invoice)
    if invoice["amount_due"] > 0:
        _create_payment(sandbox, invoice, paid_by)
    sandbox.emit("invoice.finalized", invoice)
    if invoice["amount_due"] == 0:
        pay(sandbox, invoice)


def _require_finalizable(sandbox: Sandbox, invoice: Obj) -> None:
    """Emits invoice.finalization_failed before it raises."""
    failure = sandbox.internal.failing_finalizations.pop(invoice["customer"], None)
    if failure is None:
        return
    code, message = failure
    error = {"code": code, "message": message, "type": "invalid_request_error"}
    invoice.update(last_finalization_error=error, automatically_finalizes_at=None)
    if invoice["automatic_tax"]["enabled"]:
        invoice["automatic_tax"]["status"] = "requires_location_inputs"
    sandbox.emit("invoice.finalization_failed", invoice)
    raise StripeError(message, code=code)


def pay(sandbox: Sandbox, invoice: Obj, *, attempted: bool = False, out_of_band: bool = False) -> None:
    """Marks the invoice paid: by its payment intent, out of band, or because nothing is due."""
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
    if not out_of_band:
        _settle_payments(sandbox, invoice)


def _settle_payments(sandbox: Sandbox, invoice: Obj) -> None:
    """Marks the open invoice payment paid. Emits invoice_payment.paid."""
    for payment in sandbox.store.where("invoice_payment", invoice=invoice["id"], status="open"):
        payment.update(status="paid", amount_paid=payment["amount_requested"])
        payment["status_transitions"]["paid_at"] = sandbox.clock.now_for(invoice["customer"])
        sandbox.emit("invoice_payment.paid", payment)


def overpay(sandbox: Sandbox, invoice: Obj, amount: int) -> None:
    """Credits a payment of an invoice that is already paid to the customer. Emits invoice.overpaid."""
    invoice["amount_overpaid"] += amount
    customer = sandbox.store.get("customer", invoice["customer"])
    balances.post(sandbox, customer, -amount, "invoice_overpaid", currency=invoice["currency"], invoice=invoice["id"])
    sandbox.emit("invoice.overpaid", invoice)
    _settle_payments(sandbox, invoice)


def pay_out_of_band(sandbox: Sandbox, invoice: Obj) -> None:
    """Marks the invoice paid outside of Stripe, and cancels its payment intent, unless that is processing."""
    cancel_payment(sandbox, invoice)
    pay(sandbox, invoice, out_of_band=True)


def void(sandbox: Sandbox, invoice: Obj) -> None:
    """Voids the invoice, cancels its payment intent and restores applied credit. Emits invoice.voided."""
    invoice.update(status="void", auto_advance=False, next_payment_attempt=None)
    invoice["status_transitions"]["voided_at"] = sandbox.clock.now_for(invoice["customer"])
    cancel_payment(sandbox, invoice)
    balances.unapply(sandbox, invoice)
    sandbox.emit("invoice.voided", invoice)


def mark_uncollectible(sandbox: Sandbox, invoice: Obj) -> None:
    """Marks the invoice uncollectible; it can still be paid. Emits invoice.marked_uncollectible."""
    invoice.update(status="uncollectible", auto_advance=False, next_payment_attempt=None)
    invoice["status_transitions"]["marked_uncollectible_at"] = sandbox.clock.now_for(invoice["customer"])
    sandbox.emit("invoice.marked_uncollectible", invoice)


def cancel_payment(sandbox: Sandbox, invoice: Obj) -> None:
    """Cancels the payment intent of an open invoice."""
    now = sandbox.clock.now_for(invoice["customer"])
    for payment in list(sandbox.store.where("invoice_payment", invoice=invoice["id"], status="open")):
        intent = sandbox.store.get("payment_intent", payment["payment"]["payment_intent"])
        if intent["status"] == "processing":
            continue
        payment["status"] = "canceled"
        payment["status_transitions"]["canceled_at"] = now
        if intent["status"] not in ("succeeded", "canceled"):
            payments.cancel(sandbox, intent, "void_invoice")


def intent_of(sandbox: Sandbox, invoice: Obj) -> Obj | None:
    """The current payment intent of an invoice."""
    for payment in sandbox.store.where("invoice_payment", invoice=invoice["id"]):
        if payment["status"] != "canceled":
            return sandbox.store.get("payment_intent", payment["payment"]["payment_intent"])
    return None


def invoice_of(sandbox: Sandbox, intent: Obj) -> Obj | None:
    """The invoice of a payment intent; None without one or if it was deleted with its test clock."""
    for payment in sandbox.store.all("invoice_payment"):
        if payment["payment"]["payment_intent"] == intent["id"]:
            return sandbox.store.find(payment["invoice"])
    return None


def _create_payment(sandbox: Sandbox, invoice: Obj, paid_by: Obj | None) -> None:
    reason = {"subscription_create": "Subscription creation", "subscription_cycle": "Subscription update"}
    intent = paid_by or payments.create_intent(
        sandbox,
        amount=invoice["amount_due"],
        currency=invoice["currency"],
        customer=invoice["customer"],
        description=reason.get(invoice["billing_reason"], f"Payment for Invoice {invoice['number']}"),
        automatic_payment_methods=None,
        payment_method_types=list(invoice["payment_settings"]["payment_method_types"] or INVOICE_METHODS),
        payment_details={"customer_reference": None, "order_reference": invoice["id"]},
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


def _discount_amounts(sandbox: Sandbox, invoice: Obj, subtotal: int) -> list[Obj]:
    off, left = [], subtotal
    for id in invoice["discounts"]:
        applied = sandbox.store.get("discount", id)
        amount = discounts.amount_off(sandbox.store.get("coupon", applied["source"]["coupon"]), left)
        left -= amount
        off.append({"amount": amount, "discount": id})
    return off


def _apply_taxes(sandbox: Sandbox, invoice: Obj, lines: list[Obj], net: int) -> list[Obj]:
    """`total_taxes` on a net total; sets each line's share."""
    if not invoice["automatic_tax"]["enabled"]:
        return []
    rate = taxes.basis_points(sandbox, invoice["customer"], invoice["automatic_tax"])
    subtotal, upto = sum(line["amount"] for line in lines), 0
    taxable: list[int] = []
    for line in lines:
        upto += line["amount"]
        taxable.append((upto * net // subtotal if subtotal else 0) - sum(taxable))
    for line, base, amount in zip(lines, taxable, taxes.spread(taxable, rate), strict=True):
        line["taxes"] = [taxes.entry(amount, base, rate)]
    return [taxes.entry(sum(line["taxes"][0]["amount"] for line in lines), net, rate)]


def invoice_prefix() -> str:
    """The prefix of a customer's invoice numbers."""
    return random_text(8).upper()
