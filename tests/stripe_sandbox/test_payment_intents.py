"""Payment intents without Checkout, confirmed in a browser, on the server or off session."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import stripe
from tests.stripe_sandbox.harness import RETURN_URL, Operator, error_of, events_of, last_event, plain


def intent(client: stripe.StripeClient, **params: Any) -> stripe.PaymentIntent:
    given: Any = {"amount": 57_500, "currency": "USD", "metadata": {"purchase": "p2"}, **params}
    return client.v1.payment_intents.create(given)


def test_a_browser_confirms_an_intent(client: stripe.StripeClient, operator: Operator) -> None:
    created = intent(client, automatic_payment_methods={"enabled": True}, receipt_email="a@b.co")
    assert (created.status, created.currency) == ("requires_payment_method", "usd")
    assert created.client_secret and created.client_secret.startswith(f"{created.id}_secret_")
    since = last_event(client)
    paid = operator.do(f"/payment_intents/{created.id}/pay", card="4242424242424242", email="a@b.co")
    assert (paid["status"], paid["metadata"]) == ("succeeded", {"purchase": "p2"})
    assert [e.type for e in events_of(client, since)] == ["payment_intent.succeeded", "charge.succeeded"]


def test_confirming_on_the_server(client: stripe.StripeClient) -> None:
    created = intent(client, payment_method="pm_card_visa")
    assert created.status == "requires_confirmation"
    assert client.v1.payment_intents.confirm(created.id, {"return_url": RETURN_URL}).status == "succeeded"
    with pytest.raises(stripe.InvalidRequestError) as raised:
        client.v1.payment_intents.confirm(created.id)
    assert raised.value.code == "payment_intent_unexpected_state"


def test_a_decline_is_a_card_error_with_the_intent(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.CardError) as raised:
        intent(client, confirm=True, payment_method="pm_card_chargeDeclinedInsufficientFunds", return_url=RETURN_URL)
    error = raised.value
    assert (error.http_status, error.code) == (402, "card_declined")
    assert error_of(error)["decline_code"] == "insufficient_funds"
    failed = error_of(error)["payment_intent"]
    assert failed["status"] == "requires_payment_method" and failed["latest_charge"]
    assert (
        client.v1.payment_intents.confirm(
            failed["id"], {"payment_method": "pm_card_visa", "return_url": RETURN_URL}
        ).status
        == "succeeded"
    )


def test_three_d_secure_redirects_to_the_return_url(client: stripe.StripeClient, http: httpx.Client) -> None:
    created: Any = intent(client, confirm=True, payment_method="pm_card_authenticationRequired", return_url=RETURN_URL)
    assert created.status == "requires_action"
    back = http.post(created.next_action.redirect_to_url.url, data={"passed": "true"})
    secret = f"payment_intent_client_secret={created.client_secret}"
    added = f"payment_intent={created.id}&{secret}&redirect_status=succeeded"
    assert back.headers["location"] == f"{RETURN_URL}?{added}"
    assert client.v1.payment_intents.retrieve(created.id).status == "succeeded"


def test_off_session_with_a_saved_card(client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create({"email": "saved@example.org"})
    card = client.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    order: Any = {"customer": customer.id, "payment_method": card.id, "off_session": True, "confirm": True}
    order["return_url"] = RETURN_URL
    assert intent(client, **order).status == "succeeded"
    assert [i.customer for i in client.v1.payment_intents.list({"customer": customer.id}).data] == [customer.id]
    assert client.v1.payment_methods.detach(card.id).customer is None
    assert client.v1.payment_methods.list({"customer": customer.id}).data == []


def test_canceling_and_updating(client: stripe.StripeClient) -> None:
    created = intent(client)
    changed = client.v1.payment_intents.update(created.id, {"amount": 60_000, "metadata": {"more": "x"}})
    assert (changed.amount, plain(changed.metadata)) == (60_000, {"purchase": "p2", "more": "x"})
    since = last_event(client)
    canceled = client.v1.payment_intents.cancel(created.id, {"cancellation_reason": "abandoned"})
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    assert [e.type for e in events_of(client, since)] == ["payment_intent.canceled"]
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.payment_intents.cancel(created.id)


@pytest.mark.parametrize(
    "params", [{"amount": 49}, {"customer": "cus_gone"}, {"off_session": True}, {"currency": "dollars"}]
)
def test_invalid_intents_are_rejected(client: stripe.StripeClient, params: dict[str, Any]) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        intent(client, **params)
