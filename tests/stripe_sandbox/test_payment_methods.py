"""Payment methods other than cards: bank debits, wallets, and buy now, pay later."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import stripe
from pydantic import SecretStr
from tests.stripe_sandbox.harness import LINE, SECRET_KEY, Operator, Receiver, free_port, new_session, serving, until

from stripe_sandbox.app import create_app
from stripe_sandbox.settings import Settings


def line(amount: int) -> Any:
    return {**LINE, "price_data": {"currency": "usd", "unit_amount": amount, "product_data": {"name": "Course"}}}


@pytest.mark.parametrize(
    ("amount", "offered"),
    [
        (489_000, {"card", "link", "us_bank_account", "cashapp", "affirm", "klarna"}),
        (57_500, {"card", "link", "us_bank_account", "cashapp", "affirm", "klarna", "afterpay_clearpay", "zip"}),
        (3_000, {"card", "link", "us_bank_account", "cashapp", "klarna", "afterpay_clearpay"}),
        (99, {"card", "link", "us_bank_account", "cashapp"}),
    ],
)
def test_available_methods_depend_on_the_amount(client: stripe.StripeClient, amount: int, offered: set[str]) -> None:
    assert set(new_session(client, line_items=[line(amount)]).payment_method_types) == offered


def test_the_allowed_types_are_a_filter(client: stripe.StripeClient, http: httpx.Client) -> None:
    session = new_session(client, allowed_payment_method_types=["card", "us_bank_account", "paypal", "zip"])
    assert session.payment_method_types == ["card", "us_bank_account"]
    page = http.get(f"/c/pay/{session.id}").text
    assert 'value="us_bank_account"' in page and 'value="klarna"' not in page
    refused = http.post(f"/c/pay/{session.id}", data={"email": "a@b.co", "method": "klarna"})
    assert refused.status_code == 400
    with pytest.raises(stripe.InvalidRequestError, match="No valid payment method types"):
        new_session(client, allowed_payment_method_types=["paypal"])


def test_a_bank_debit_completes_unpaid_and_settles_later(
    client: stripe.StripeClient, http: httpx.Client, receiver: Receiver, operator: Operator
) -> None:
    session = new_session(client)
    operator.wait_idle()
    receiver.received.clear()
    form = {"email": "a@b.co", "method": "us_bank_account", "account": "verified"}
    assert http.post(f"/c/pay/{session.id}", data=form).status_code == 303
    operator.wait_idle()
    assert receiver.types() == [
        "payment_intent.created",
        "payment_intent.processing",
        "charge.pending",
        "checkout.session.completed",
    ]
    completed = receiver.of("checkout.session.completed")[0]["data"]["object"]
    assert (completed["status"], completed["payment_status"]) == ("complete", "unpaid")
    receiver.received.clear()
    operator.do(f"/payment_intents/{completed['payment_intent']}/settle")
    operator.wait_idle()
    assert receiver.types() == [
        "payment_intent.succeeded",
        "charge.succeeded",
        "checkout.session.async_payment_succeeded",
    ]
    assert receiver.received[-1].event["data"]["object"]["payment_status"] == "paid"
    assert len(client.v1.charges.list({"payment_intent": completed["payment_intent"]}).data) == 1


def test_a_bank_debit_that_fails(client: stripe.StripeClient, receiver: Receiver, operator: Operator) -> None:
    session = new_session(client)
    intent = operator.pay(session.id, method="us_bank_account", account="failing")["payment_intent"]
    operator.wait_idle()
    receiver.received.clear()
    operator.do(f"/payment_intents/{intent}/fail")
    operator.wait_idle()
    assert receiver.types() == [
        "payment_intent.payment_failed",
        "charge.failed",
        "checkout.session.async_payment_failed",
    ]
    failed = client.v1.checkout.sessions.retrieve(session.id)
    assert (failed.status, failed.payment_status) == ("complete", "unpaid")
    assert operator.do(f"/payment_intents/{intent}/settle", status=400)["error"]


def test_affirm_depends_on_the_phone_number(client: stripe.StripeClient, http: httpx.Client) -> None:
    session = new_session(client)
    affirm = {"email": "a@b.co", "method": "affirm"}
    assert http.post(f"/c/pay/{session.id}", data={**affirm, "phone": "555-555-5556"}).status_code == 402
    assert http.post(f"/c/pay/{session.id}", data={**affirm, "phone": "555-555-5555"}).status_code == 303
    charge: Any = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent.latest_charge"]})
    assert charge.payment_intent.latest_charge.payment_method_details.type == "affirm"


@pytest.mark.parametrize("method", ["klarna", "afterpay_clearpay", "cashapp", "link", "zip"])
def test_other_methods_are_authorized_or_declined(
    client: stripe.StripeClient, receiver: Receiver, operator: Operator, method: str
) -> None:
    session = new_session(client, line_items=[line(57_500)])
    refused = operator.pay(session.id, method=method, authorize=False, status=402)
    assert refused["status"] == "declined" and refused["error"]
    operator.wait_idle()
    assert receiver.types()[-2:] == ["payment_intent.payment_failed", "charge.failed"]
    assert operator.pay(session.id, method=method)["status"] == "complete"
    operator.wait_idle()
    assert receiver.types()[-1] == "checkout.session.completed"


def test_bank_debits_can_settle_automatically() -> None:
    port = free_port()
    settings = Settings(port=port, secret_key=SecretStr(SECRET_KEY), ach_settle_seconds=3_600, time_factor=7_200)
    with serving(create_app(settings), port):
        client = stripe.StripeClient(SECRET_KEY, base_addresses={"api": f"http://127.0.0.1:{port}"})
        outcomes = {}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", verify=False) as http:
            for account in ("verified", "failing"):
                session = new_session(client)
                Operator(http).pay(session.id, method="us_bank_account", account=account)
                outcomes[account] = session.id
        until(lambda: len(client.v1.events.list({"type": "checkout.session.async_*"}).data) == 2)
        assert client.v1.checkout.sessions.retrieve(outcomes["verified"]).payment_status == "paid"
        assert client.v1.checkout.sessions.retrieve(outcomes["failing"]).payment_status == "unpaid"
