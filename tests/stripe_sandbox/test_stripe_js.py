"""What the stand-in for Stripe.js relies on: its script, and the API as a page of another origin calls it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import stripe
from tests.stripe_sandbox.harness import RETURN_URL, last_event

KEY = "pk_test_bursar_sandbox"
ELSEWHERE = {"Origin": "https://school.example"}
CARD = {"type": "card", "card[exp_month]": "12", "card[exp_year]": "2030", "card[cvc]": "123"}
HIDDEN = ("metadata", "customer", "latest_charge", "amount_received", "automatic_payment_methods")


@pytest.fixture
def intent(client: stripe.StripeClient) -> stripe.PaymentIntent:
    return client.v1.payment_intents.create({"amount": 57_500, "currency": "usd", "metadata": {"purchase": "p2"}})


def post(http: httpx.Client, path: str, **fields: str) -> httpx.Response:
    return http.post(path, data={"key": KEY, **fields}, headers=ELSEWHERE)


def confirm(http: httpx.Client, intent: stripe.PaymentIntent, number: str, **fields: str) -> httpx.Response:
    method = post(http, "/v1/payment_methods", **CARD, **{"card[number]": number})
    assert method.status_code == 200, method.text
    sent = {"client_secret": str(intent.client_secret), "payment_method": method.json()["id"], "return_url": RETURN_URL}
    return post(http, f"/v1/payment_intents/{intent.id}/confirm", **{**sent, **fields})


def test_the_script_is_served_and_labeled(http: httpx.Client) -> None:
    script = http.get("/v3/")
    assert script.headers["content-type"].startswith("text/javascript")
    assert "window.Stripe" in script.text and "Stripe sandbox: test cards only" in script.text
    assert "innerHTML" not in script.text and "eval(" not in script.text


def test_a_page_of_another_origin_pays_by_card(
    client: stripe.StripeClient, http: httpx.Client, intent: stripe.PaymentIntent
) -> None:
    paid = confirm(http, intent, "4242 4242 4242 4242")
    assert (paid.status_code, paid.json()["status"]) == (200, "succeeded")
    assert paid.headers["access-control-allow-origin"] == "*"
    assert not set(HIDDEN) & set(paid.json())
    assert client.v1.payment_intents.retrieve(intent.id).amount_received == 57_500


def test_a_decline_has_its_reason_and_hides_the_same_fields(http: httpx.Client, intent: stripe.PaymentIntent) -> None:
    declined = confirm(http, intent, "4000000000009995")
    error = declined.json()["error"]
    assert (declined.status_code, error["type"], error["code"]) == (402, "card_error", "card_declined")
    assert error["decline_code"] == "insufficient_funds" and error["message"] == "Your card has insufficient funds."
    assert error["payment_intent"]["status"] == "requires_payment_method"
    assert not set(HIDDEN) & set(error["payment_intent"])
    assert declined.headers["access-control-allow-origin"] == "*"
    assert confirm(http, intent, "4242424242424242").json()["status"] == "succeeded"


@pytest.mark.parametrize(("passed", "result"), [("true", "succeeded"), ("false", "failed")])
def test_three_d_secure_returns_with_the_intent(
    http: httpx.Client, intent: stripe.PaymentIntent, passed: str, result: str
) -> None:
    back = "https://school.example/enroll/success?program=cpr"
    required = confirm(http, intent, "4000002760003184", return_url=back).json()
    assert required["status"] == "requires_action"
    returned = http.post(required["next_action"]["redirect_to_url"]["url"], data={"passed": passed})
    url = httpx.URL(returned.headers["location"])
    assert dict(url.params) == {
        "program": "cpr",
        "payment_intent": intent.id,
        "payment_intent_client_secret": intent.client_secret,
        "redirect_status": result,
    }


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"client_secret": "pi_x_secret_y"}, 400, "payment_intent_invalid_parameter"),
        ({"client_secret": ""}, 400, "parameter_missing"),
        ({"key": "pk_test_another"}, 401, None),
        ({"key": "sk_test_contract"}, 401, None),  # a secret key is no parameter
        ({"key[a]": "b", "key": ""}, 401, None),
        ({"off_session": "true"}, 400, "parameter_unknown"),
        ({"amount": "50"}, 400, "parameter_unknown"),
        ({"metadata[purchase]": "p3"}, 400, "parameter_unknown"),
    ],
)
def test_what_is_refused_changes_nothing(
    client: stripe.StripeClient,
    http: httpx.Client,
    intent: stripe.PaymentIntent,
    fields: dict[str, str],
    status: int,
    code: str | None,
) -> None:
    method = post(http, "/v1/payment_methods", **CARD, **{"card[number]": "4242424242424242"}).json()["id"]
    since = last_event(client)
    sent = {"key": KEY, "client_secret": str(intent.client_secret), "payment_method": method, "return_url": RETURN_URL}
    form = {name: value for name, value in {**sent, **fields}.items() if name != "key" or value}
    refused = http.post(f"/v1/payment_intents/{intent.id}/confirm", data=form, headers=ELSEWHERE)
    assert (refused.status_code, refused.json()["error"].get("code")) == (status, code)
    assert client.v1.payment_intents.retrieve(intent.id).status == "requires_payment_method"
    assert last_event(client) == since


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/payment_intents"),
        ("POST", "/v1/payment_intents"),
        ("POST", "/v1/payment_intents/{id}"),
        ("POST", "/v1/payment_intents/{id}/cancel"),
        ("GET", "/v1/payment_methods/pm_card_visa"),
        ("POST", "/v1/refunds"),
        ("GET", "/v1/customers"),
        ("GET", "/v1/events"),
        ("POST", "/v1/webhook_endpoints"),
    ],
)
def test_a_publishable_key_is_for_nothing_else(
    http: httpx.Client, intent: stripe.PaymentIntent, method: str, path: str
) -> None:
    sent: Any = {"headers": {"Authorization": f"Bearer {KEY}"}}
    if method == "POST":
        sent["data"] = {"client_secret": str(intent.client_secret), "amount": "50"}
    refused = http.request(method, path.format(id=intent.id), **sent)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (401, "secret_key_required"), refused.text
    assert "p2" not in refused.text


def test_an_intent_that_does_not_exist_is_not_found(http: httpx.Client) -> None:
    found = http.get("/v1/payment_intents/pi_gone", params={"key": KEY, "client_secret": "pi_gone_secret_x"})
    assert (found.status_code, found.json()["error"]["code"]) == (404, "resource_missing")
