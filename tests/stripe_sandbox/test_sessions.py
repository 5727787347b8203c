"""Checkout sessions: discounts, zero totals, invoices, customers, expiration, setup mode."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
import stripe
from tests.stripe_sandbox.harness import SUCCESS, Operator, Receiver, monthly, new_session, plain


def coupon(client: stripe.StripeClient, **params: Any) -> str:
    given: Any = {"percent_off": 100, "duration": "once", **params}
    return client.v1.coupons.create(given).id


def test_a_zero_total_requires_no_payment(client: stripe.StripeClient, receiver: Receiver, operator: Operator) -> None:
    session = new_session(client, discounts=[{"coupon": coupon(client)}])
    assert (session.amount_subtotal, session.amount_total) == (489_000, 0)
    operator.wait_idle()
    receiver.received.clear()
    operator.pay(session.id)
    done = client.v1.checkout.sessions.retrieve(session.id)
    assert (done.status, done.payment_status, done.payment_intent) == ("complete", "no_payment_required", None)
    operator.wait_idle()
    assert receiver.types() == ["checkout.session.completed"]


def test_customers_can_enter_a_promotion_code(
    client: stripe.StripeClient, http: httpx.Client, operator: Operator
) -> None:
    code = client.v1.promotion_codes.create(
        {
            "code": f"SPRING{time.time_ns()}",
            "promotion": {"type": "coupon", "coupon": coupon(client, percent_off=12.5, duration="forever")},
            "max_redemptions": 1,
        }
    )
    assert [c.id for c in client.v1.promotion_codes.list({"code": code.code}).data] == [code.id]
    session = new_session(client, allow_promotion_codes=True)
    wrong = http.post(f"/c/pay/{session.id}/promotion", data={"promotion_code": "AUTUMN"})
    assert wrong.status_code == 400 and "invalid" in wrong.text
    assert http.post(f"/c/pay/{session.id}/promotion", data={"promotion_code": code.code}).status_code == 303
    assert "−$611.25" in http.get(f"/c/pay/{session.id}").text
    operator.pay(session.id)
    paid: Any = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent", "line_items"]})
    assert paid.amount_total == paid.payment_intent.amount == 427_875
    assert paid.total_details.amount_discount == 61_125
    assert paid.line_items.data[0].amount_total == 427_875
    assert client.v1.promotion_codes.retrieve(code.id).times_redeemed == 1
    late = new_session(client, allow_promotion_codes=True)
    assert http.post(f"/c/pay/{late.id}/promotion", data={"promotion_code": code.code}).status_code == 400


def test_promotion_codes_are_rejected_unless_allowed(client: stripe.StripeClient, http: httpx.Client) -> None:
    session = new_session(client)
    assert "promotion_code" not in http.get(f"/c/pay/{session.id}").text
    assert http.post(f"/c/pay/{session.id}/promotion", data={"promotion_code": "X"}).status_code == 400


def test_an_invoice_is_created_for_a_one_time_payment(
    client: stripe.StripeClient, receiver: Receiver, operator: Operator
) -> None:
    session = new_session(
        client,
        customer_email="finance@sponsor.example",
        invoice_creation={"enabled": True, "invoice_data": {"metadata": {"purchase": "p9"}, "description": "WIOA"}},
    )
    assert session.customer_creation == "always"
    operator.wait_idle()
    receiver.received.clear()
    operator.pay(session.id, email=None)
    operator.wait_idle()
    assert receiver.types() == [
        "customer.created",
        "payment_intent.created",
        "payment_intent.succeeded",
        "charge.succeeded",
        "invoice.created",
        "invoice.finalized",
        "invoice.paid",
        "invoice.payment_succeeded",
        "invoice_payment.paid",
        "checkout.session.completed",
    ]
    done: Any = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["invoice", "customer"]})
    assert (done.invoice.status, done.invoice.amount_paid, done.invoice.parent) == ("paid", 489_000, None)
    assert plain(done.invoice.metadata) == {"purchase": "p9"}
    assert done.customer.email == done.customer_details.email == "finance@sponsor.example"
    link = client.v1.invoice_payments.list(
        {"payment": {"type": "payment_intent", "payment_intent": done.payment_intent}}
    )
    assert [p.invoice for p in link.data] == [done.invoice.id]


def test_a_bank_debit_gets_its_invoice_when_it_settles(client: stripe.StripeClient, operator: Operator) -> None:
    session = new_session(client, invoice_creation={"enabled": True})
    intent = operator.pay(session.id, method="us_bank_account")["payment_intent"]
    assert client.v1.checkout.sessions.retrieve(session.id).invoice is None
    operator.do(f"/payment_intents/{intent}/settle")
    assert client.v1.checkout.sessions.retrieve(session.id).invoice


def test_an_expired_session_cannot_be_paid(
    client: stripe.StripeClient, http: httpx.Client, receiver: Receiver, operator: Operator
) -> None:
    session = new_session(client)
    expired = client.v1.checkout.sessions.expire(session.id)
    assert (expired.status, expired.url) == ("expired", None)
    operator.wait_idle()
    assert receiver.types()[-1] == "checkout.session.expired"
    assert "expired" in http.get(f"/c/pay/{session.id}").text
    assert operator.pay(session.id, status=400)["error"]
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.checkout.sessions.expire(session.id)


def test_a_session_expires_at_expires_at(client: stripe.StripeClient, receiver: Receiver, operator: Operator) -> None:
    now = operator.get("/clock")["now"]
    session = new_session(client, expires_at=now + 1_805)
    operator.do("/clock/advance", seconds=1_810)
    operator.wait_idle()
    assert [e["data"]["object"]["id"] for e in receiver.of("checkout.session.expired")] == [session.id]


def test_line_items_are_listed(client: stripe.StripeClient) -> None:
    session = new_session(client)
    items = client.v1.checkout.sessions.line_items.list(session.id)
    assert [(i.description, i.quantity, i.amount_total) for i in items.data] == [("Barber apprenticeship", 1, 489_000)]


def test_a_session_with_an_existing_price(client: stripe.StripeClient, operator: Operator) -> None:
    product = client.v1.products.create({"name": "CPR", "metadata": {"slug": "cpr"}})
    price = client.v1.prices.create({"currency": "usd", "unit_amount": 57_500, "product": product.id})
    session = new_session(client, line_items=[{"price": price.id, "quantity": 2}])
    assert session.amount_total == 115_000
    client.v1.prices.update(price.id, {"active": False})
    with pytest.raises(stripe.InvalidRequestError, match="inactive"):
        new_session(client, line_items=[{"price": price.id, "quantity": 1}])
    with pytest.raises(stripe.InvalidRequestError, match="recurring price"):
        new_session(client, line_items=[{"price": monthly(client), "quantity": 1}])


def test_setup_mode_saves_a_card(client: stripe.StripeClient, operator: Operator) -> None:
    customer = client.v1.customers.create({"email": "s@example.org"})
    params: Any = {"mode": "setup", "customer": customer.id, "currency": "usd", "success_url": SUCCESS}
    session = client.v1.checkout.sessions.create(params)
    operator.pay(session.id)
    done = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["setup_intent"]})
    saved: Any = done.setup_intent
    assert (done.status, done.payment_status, saved.status) == ("complete", "no_payment_required", "succeeded")
    assert [m.id for m in client.v1.customers.payment_methods.list(customer.id).data] == [saved.payment_method]


def test_sessions_are_filtered_by_payment_intent_and_status(client: stripe.StripeClient, operator: Operator) -> None:
    session = new_session(client)
    intent = operator.pay(session.id)["payment_intent"]
    assert [s.id for s in client.v1.checkout.sessions.list({"payment_intent": intent}).data] == [session.id]
    assert session.id not in [s.id for s in client.v1.checkout.sessions.list({"status": "open", "limit": 100}).data]
