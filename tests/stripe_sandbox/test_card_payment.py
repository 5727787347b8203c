"""A checkout session paid by card."""

from __future__ import annotations

from typing import Any

import httpx
import stripe
from tests.stripe_sandbox.harness import WEBHOOK_SECRET, Operator, Receiver, new_session, plain


def test_an_open_session_has_a_page_but_no_payment_intent(client: stripe.StripeClient, http: httpx.Client) -> None:
    session = new_session(client, metadata={"student_id": "s1"}, client_reference_id="p1")
    assert (session.status, session.payment_status, session.payment_intent) == ("open", "unpaid", None)
    assert (session.amount_total, session.currency, session.ui_mode) == (489_000, "usd", "hosted_page")
    assert plain(session.metadata) == {"student_id": "s1"}
    page = http.get(httpx.URL(str(session.url)).raw_path.decode())
    assert page.status_code == 200
    assert "$4,890.00" in page.text and "Barber apprenticeship" in page.text


def test_a_card_payment_sends_events_in_stripes_order(
    client: stripe.StripeClient, http: httpx.Client, receiver: Receiver, operator: Operator
) -> None:
    session = new_session(
        client, metadata={"purchase": "p1"}, payment_intent_data={"metadata": {"purchase": "p1", "from": "intent"}}
    )
    form = {"email": "ada@example.org", "method": "card", "card": "4242 4242 4242 4242"}
    answer = http.post(f"/c/pay/{session.id}", data=form)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"https://school.example/enroll/success?session_id={session.id}&program=barber"
    operator.wait_idle()
    events = [t for t in receiver.types() if not t.startswith(("price.", "product."))]
    assert events == [
        "payment_intent.created",
        "payment_intent.succeeded",
        "charge.succeeded",
        "checkout.session.completed",
    ]
    paid = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent.latest_charge"]})
    assert (paid.status, paid.payment_status) == ("complete", "paid")
    intent: Any = paid.payment_intent
    assert plain(intent.metadata) == {"purchase": "p1", "from": "intent"}
    assert intent.latest_charge.paid and intent.latest_charge.amount == 489_000
    completed = receiver.of("checkout.session.completed")[0]
    assert completed["data"]["object"]["payment_intent"] == intent.id
    assert completed["api_version"] == "2026-10-28.endive"


def test_session_metadata_is_not_copied_to_the_intent(client: stripe.StripeClient, operator: Operator) -> None:
    session = new_session(client, metadata={"only": "session"})
    intent = client.v1.payment_intents.retrieve(operator.pay(session.id)["payment_intent"])
    assert plain(intent.metadata) == {}


def test_the_sdk_verifies_each_delivery(client: stripe.StripeClient, receiver: Receiver, operator: Operator) -> None:
    operator.pay(new_session(client).id)
    operator.wait_idle()
    for received in receiver.received:
        event = client.construct_event(received.body, received.signature, WEBHOOK_SECRET)
        assert event.id == received.event["id"]


def test_a_session_stays_open_after_a_decline(
    client: stripe.StripeClient, http: httpx.Client, receiver: Receiver, operator: Operator
) -> None:
    session = new_session(client)
    receiver.received.clear()
    refused = http.post(
        f"/c/pay/{session.id}", data={"email": "a@b.co", "method": "card", "card": "4000 0000 0000 9995"}
    )
    assert refused.status_code == 402
    assert "insufficient funds" in refused.text and 'role="alert"' in refused.text
    operator.wait_idle()
    assert receiver.types()[-2:] == ["payment_intent.payment_failed", "charge.failed"]
    error = receiver.of("payment_intent.payment_failed")[0]["data"]["object"]["last_payment_error"]
    assert (error["code"], error["decline_code"]) == ("card_declined", "insufficient_funds")
    assert client.v1.checkout.sessions.retrieve(session.id).status == "open"
    done = operator.pay(session.id, card="4242424242424242")
    assert done["status"] == "complete"
    assert len(client.v1.charges.list({"payment_intent": done["payment_intent"]}).data) == 2


def test_three_d_secure_can_be_failed_and_then_completed(
    client: stripe.StripeClient, http: httpx.Client, operator: Operator
) -> None:
    session = new_session(client)
    form = {"email": "a@b.co", "method": "card", "card": "4000002500003155"}
    for passed in ("false", "true"):
        redirect = http.post(f"/c/pay/{session.id}", data=form)
        assert redirect.status_code == 303 and "/authenticate/pi_" in redirect.headers["location"]
        assert "3-D Secure" in http.get(redirect.headers["location"]).text
        back = http.post(redirect.headers["location"], data={"passed": passed})
        assert back.status_code == 303
        if passed == "false":
            assert back.headers["location"] == f"/c/pay/{session.id}"
            assert "unable to authenticate" in http.get(f"/c/pay/{session.id}").text
    assert session.id in back.headers["location"]
    assert client.v1.checkout.sessions.retrieve(session.id).payment_status == "paid"


def test_an_invalid_card_number_is_rejected(client: stripe.StripeClient, http: httpx.Client) -> None:
    session = new_session(client)
    answer = http.post(f"/c/pay/{session.id}", data={"email": "a@b.co", "method": "card", "card": "4242424242424241"})
    assert answer.status_code == 402 and "card number is incorrect" in answer.text
    assert client.v1.checkout.sessions.retrieve(session.id).payment_intent is None


def test_a_completed_session_cannot_be_paid_twice(client: stripe.StripeClient, operator: Operator) -> None:
    session = new_session(client)
    operator.pay(session.id)
    refused = operator.pay(session.id, status=400)
    assert "only an open one" in refused["error"]["message"]
