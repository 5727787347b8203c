"""Off-session charges: declines, retries and forced failures."""

from __future__ import annotations

from typing import Any

import pytest
import stripe
from tests.stripe_sandbox.harness import RETURN_URL, error_of
from tests.stripe_sandbox.in_process import InProcessSandbox


def charge(sandbox: InProcessSandbox, customer: Any, **params: Any) -> Any:
    """An off-session charge of the customer's default card."""
    card = customer.invoice_settings.default_payment_method
    order = {"amount": 40_000, "currency": "usd", "customer": customer.id, "payment_method": card}
    return sandbox.api.payment_intents.create(
        {**order, "off_session": True, "confirm": True, "return_url": RETURN_URL, **params}
    )


def test_a_decline_leaves_an_intent_that_can_be_confirmed_again(sandbox: InProcessSandbox) -> None:
    customer = sandbox.customer("pm_card_chargeCustomerFail")
    sandbox.new_events()
    with pytest.raises(stripe.CardError) as raised:
        charge(sandbox, customer)
    error = error_of(raised.value)
    assert (raised.value.http_status, error["type"], error["code"]) == (402, "card_error", "card_declined")
    failed = error["payment_intent"]
    assert (failed["status"], failed["payment_method"]) == ("requires_payment_method", None)
    assert sandbox.types() == ["payment_intent.created", "payment_intent.payment_failed", "charge.failed"]
    same = {"payment_method": error["payment_method"]["id"], "off_session": True, "return_url": RETURN_URL}
    with pytest.raises(stripe.CardError):
        sandbox.api.payment_intents.confirm(failed["id"], same)
    better = sandbox.api.payment_methods.attach("pm_card_visa", {"customer": customer.id}).id
    paid = sandbox.api.payment_intents.confirm(failed["id"], {**same, "payment_method": better})
    assert (paid.status, paid.amount_received, paid.last_payment_error) == ("succeeded", 40_000, None)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        sandbox.api.payment_intents.cancel(failed["id"])
    assert refused.value.code == "payment_intent_unexpected_state"


def test_three_d_secure_requires_the_customer_unless_set_up(sandbox: InProcessSandbox) -> None:
    customer = sandbox.customer("pm_card_authenticationRequired")
    with pytest.raises(stripe.CardError) as raised:
        charge(sandbox, customer)
    error = error_of(raised.value)
    assert (error["code"], error["decline_code"]) == ("authentication_required", "authentication_required")
    back = {"payment_method": error["payment_method"]["id"], "return_url": RETURN_URL}
    assert sandbox.api.payment_intents.confirm(error["payment_intent"]["id"], back).status == "requires_action"
    sandbox.operate_now(f"/payment_intents/{error['payment_intent']['id']}/authenticate", passed=True)
    assert sandbox.api.payment_intents.retrieve(error["payment_intent"]["id"]).status == "succeeded"

    buyer = sandbox.customer(None)
    first = sandbox.api.payment_intents.create(
        {"amount": 1_000, "currency": "usd", "customer": buyer.id, "setup_future_usage": "off_session"}
    )
    confirmed = sandbox.operate_now(f"/payment_intents/{first.id}/pay", card="4000002500003155")
    assert confirmed["status"] == "requires_action"
    sandbox.operate_now(f"/payment_intents/{first.id}/authenticate", passed=True)
    (saved,) = sandbox.api.customers.payment_methods.list(buyer.id).data
    assert charge(sandbox, buyer, payment_method=saved.id).status == "succeeded"


def test_setup_future_usage_attaches_only_successful_methods(sandbox: InProcessSandbox) -> None:
    customer = sandbox.customer(None)
    order: Any = {"amount": 1_000, "currency": "usd", "customer": customer.id, "setup_future_usage": "off_session"}
    order["return_url"] = RETURN_URL
    with pytest.raises(stripe.CardError):
        sandbox.api.payment_intents.create({**order, "payment_method": "pm_card_chargeDeclined", "confirm": True})
    assert sandbox.api.payment_methods.list({"customer": customer.id}).data == []
    sandbox.new_events()
    paid = sandbox.api.payment_intents.create({**order, "payment_method": "pm_card_visa", "confirm": True})
    assert "payment_method.attached" in sandbox.types()
    assert [m.id for m in sandbox.api.payment_methods.list({"customer": customer.id}).data] == [paid.payment_method]
    assert not {"affirm", "klarna", "zip"} & set(paid.payment_method_types)


@pytest.mark.parametrize("path", ["fail_next_charges", "fail_next_renewal"])
def test_forced_failures_decline_the_next_charges(sandbox: InProcessSandbox, path: str) -> None:
    customer = sandbox.customer()
    sandbox.operate_now(f"/customers/{customer.id}/{path}", times=2, decline_code="insufficient_funds")
    for _ in range(2):
        with pytest.raises(stripe.CardError) as raised:
            charge(sandbox, customer)
        assert error_of(raised.value)["decline_code"] == "insufficient_funds"
    assert charge(sandbox, customer).status == "succeeded"
    sandbox.operate_now(f"/customers/{customer.id}/{path}", decline_code="authentication_required")
    with pytest.raises(stripe.CardError) as declined:
        charge(sandbox, customer)
    assert declined.value.code == "authentication_required"


def test_neither_another_customers_card_nor_a_detached_one_can_be_charged(sandbox: InProcessSandbox) -> None:
    owner, other = sandbox.customer(), sandbox.customer()
    card = owner.invoice_settings.default_payment_method
    with pytest.raises(stripe.InvalidRequestError, match="must be attached to the customer"):
        charge(sandbox, other, payment_method=card)
    sandbox.api.payment_methods.detach(card)
    assert sandbox.api.customers.retrieve(owner.id).invoice_settings.default_payment_method is None
    with pytest.raises(stripe.InvalidRequestError, match="may not be used again"):
        charge(sandbox, owner, payment_method=card)


@pytest.mark.parametrize(("end", "status"), [("settle", "succeeded"), ("fail", "requires_payment_method")])
def test_a_bank_debit_is_processing_first(sandbox: InProcessSandbox, end: str, status: str) -> None:
    customer = sandbox.customer("pm_usBankAccount")
    sandbox.new_events()
    created = charge(sandbox, customer)
    assert created.status == "processing"
    assert sandbox.types() == ["payment_intent.created", "payment_intent.processing", "charge.pending"]
    sandbox.operate_now(f"/payment_intents/{created.id}/{end}")
    assert sandbox.api.payment_intents.retrieve(created.id).status == status
    assert [t.amount for t in sandbox.balance_transactions()] == ([40_000] if end == "settle" else [])
