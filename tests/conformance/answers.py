"""What Stripe answers: the shapes and values that the services rely on."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import stripe
from tests.conformance.account import RETURN_URL, Account
from tests.conformance.case import Case


def _paid_invoice(a: Account) -> Any:
    customer = a.customer()
    invoice = a.invoice(customer, metadata={"purchase": "p1"})
    method = {"payment_method": a.card_of(customer), "off_session": True}
    return a.v1.invoices.pay(invoice.id, {**method, "expand": ["payments"]})


def _after_a_decline(a: Account) -> Any:
    customer = a.customer(None)
    invoice = a.invoice(customer)
    with suppress(stripe.CardError):
        a.v1.invoices.pay(invoice.id, {"payment_method": a.attached(customer, "pm_card_chargeCustomerFail")})
    return a.v1.invoices.retrieve(invoice.id)


def _own_default_method(a: Account) -> Any:
    """A renewal's intent would be charged to the subscription's own method: its first invoice is."""
    customer = a.customer("pm_card_chargeCustomerFail")
    own = a.attached(customer, "pm_card_mastercard")
    return a.subscription(customer, default_payment_method=own)


def _credit_after_a_discount(a: Account) -> Any:
    """The credit of a change, for a year of which nothing was debited."""
    customer = a.customer()
    coupon = a.v1.coupons.create({"percent_off": 100, "duration": "once"}).id
    year = {"price": a.price(49_000, "year")}
    subscription = a.subscription(customer, items=[year], discounts=[{"coupon": coupon}])
    item = {"id": subscription["items"].data[0].id, "price": a.price(19_000, "year")}
    a.v1.subscriptions.update(subscription.id, {"items": [item], "proration_behavior": "create_prorations"})
    pending = a.v1.invoice_items.list({"customer": customer.id, "pending": True}).data
    return {"credit": min(entry.amount for entry in pending)}


def _newest_first(a: Account) -> Any:
    customer = a.customer()
    a.v1.customers.update(customer.id, {"name": "Newer"})
    types = {"types": ["customer.created", "customer.updated"], "limit": 50}
    mine = [e for e in a.v1.events.list(types).data if e.data.object.id == customer.id]
    ids = [e.id for e in mine]
    before = a.v1.events.list({**types, "ending_before": ids[-1]}).data
    after = a.v1.events.list({**types, "starting_after": ids[0]}).data
    return {
        "newest": mine[0].type,
        "oldest": mine[-1].type,
        "before": ids[0] in [e.id for e in before],
        "after": ids[-1] in [e.id for e in after],
        "same": a.v1.events.retrieve(ids[0]).type == mine[0].type,
    }


def _phase_without_tax(a: Account) -> Any:
    phase = {"items": [{"price": a.price()}], "duration": {"interval": "month", "interval_count": 2}}
    schedule = {"customer": a.customer().id, "start_date": "now", "end_behavior": "cancel", "phases": [phase]}
    created = a.v1.subscription_schedules.create(schedule)
    return a.v1.subscriptions.retrieve(created.subscription)


def _retried(a: Account) -> Any:
    key = a.key()
    first = a.v1.customers.create({"name": "Same"}, key)
    return {"same": a.v1.customers.create({"name": "Same"}, key).id == first.id}


def _deleted(a: Account) -> Any:
    customer = a.customer()
    a.v1.customers.delete(customer.id)
    return a.v1.customers.retrieve(customer.id)


def _charge(a: Account) -> Any:
    customer = a.customer()
    intent = a.charge(customer=customer.id, payment_method=a.card_of(customer), metadata={"purchase": "p1"})
    return a.v1.charges.retrieve(intent.latest_charge)


ANSWERS = [
    Case(
        name="intent",
        call=lambda a: a.intent(metadata={"purchase": "p1"}),
        expect={
            "status": "requires_payment_method",
            "automatic_payment_methods.enabled": True,
            "automatic_payment_methods.allow_redirects": "always",
            "client_secret": str,
            "amount_received": 0,
            "setup_future_usage": None,
            "metadata.purchase": "p1",
        },
    ),
    Case(
        name="page-that-saves-the-method",
        call=lambda a: a.session(
            customer=a.customer(None).id, payment_intent_data={"setup_future_usage": "off_session"}
        ),
        expect={"status": "open", "payment_status": "unpaid", "mode": "payment", "url": str, "payment_intent": None},
    ),
    Case(
        name="charge",
        call=_charge,
        expect={
            "status": "succeeded",
            "payment_method_details.type": "card",
            "payment_method_details.card.brand": "visa",
            "payment_method_details.card.last4": "4242",
            "payment_method_details.card.wallet": None,
            "metadata.purchase": "p1",
        },
    ),
    Case(
        name="finalized-invoice",
        call=lambda a: a.invoice(a.customer()),
        expect={
            "status": "open",
            "attempt_count": 0,
            "next_payment_attempt": None,
            "due_date": None,
            "hosted_invoice_url": str,
            "confirmation_secret.type": "payment_intent",
            "confirmation_secret.client_secret": str,
            "payments.data.0.status": "open",
            "parent": None,
        },
    ),
    Case(
        name="intent-of-an-invoice",
        call=lambda a: a.intent_of(a.invoice(a.customer(), metadata={"purchase": "p1"})),
        expect={"metadata": {}, "setup_future_usage": None, "status": "requires_payment_method"},
    ),
    Case(
        name="paid-invoice",
        call=_paid_invoice,
        expect={
            "status": "paid",
            "amount_paid": 97_800,
            "amount_remaining": 0,
            "attempt_count": 1,
            "metadata.purchase": "p1",
            "payments.data.0.status": "paid",
        },
    ),
    Case(
        name="invoice-after-a-decline",
        call=_after_a_decline,
        expect={"status": "open", "attempted": True, "attempt_count": 1, "next_payment_attempt": None},
    ),
    Case(
        name="invoice-of-30-cents",
        call=lambda a: a.invoice(a.customer(), amount=30),
        expect={"status": "paid", "amount_due": 0, "ending_balance": 30},
    ),
    Case(
        name="flexible-billing-mode",
        call=lambda a: a.subscription(a.customer()),
        expect={"status": "active", "billing_mode.type": "flexible", "items.data.0.current_period_end": int},
    ),
    Case(name="credit-of-what-was-debited", call=_credit_after_a_discount, expect={"credit": 0}),
    Case(name="own-default-method", call=_own_default_method, expect={"status": "active"}),
    Case(name="phase-without-tax", call=_phase_without_tax, expect={"automatic_tax.enabled": False}),
    Case(
        name="events",
        call=_newest_first,
        expect={
            "newest": "customer.updated",
            "oldest": "customer.created",
            "before": True,
            "after": True,
            "same": True,
        },
    ),
    Case(name="retry-with-the-same-key", call=_retried, expect={"same": True}),
    Case(name="deleted-customer", call=_deleted, expect={"deleted": True, "object": "customer"}),
    Case(
        name="refund",
        call=lambda a: a.v1.refunds.create({"payment_intent": a.charge().id, "amount": 1_000}),
        expect={"status": "succeeded", "amount": 1_000, "charge": str, "payment_intent": str},
    ),
    Case(
        name="required-action",
        call=lambda a: a.charge(payment_method="pm_card_authenticationRequired"),
        expect={"status": "requires_action", "next_action.redirect_to_url.return_url": RETURN_URL},
    ),
]
