"""Idempotency keys, including concurrent requests and lost responses."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import stripe
from tests.stripe_sandbox.harness import RETURN_URL, SECRET_KEY, Operator, Running, error_of, new_session, until


def create(client: stripe.StripeClient, key: str, **params: Any) -> stripe.Customer:
    given: Any = params
    return client.v1.customers.create(given, {"idempotency_key": key})


def test_a_repeated_request_gets_the_saved_response(client: stripe.StripeClient) -> None:
    first, again = (create(client, "same", email="idem@example.org") for _ in range(2))
    assert first.id == again.id
    assert first.last_response and "idempotent-replayed" not in first.last_response.headers
    assert again.last_response and again.last_response.headers["idempotent-replayed"] == "true"
    assert len(client.v1.customers.list({"email": "idem@example.org"}).data) == 1


def test_a_key_is_limited_to_its_path_and_parameters(client: stripe.StripeClient) -> None:
    create(client, "other", email="one@example.org")
    with pytest.raises(stripe.IdempotencyError) as raised:
        create(client, "other", email="two@example.org")
    assert raised.value.http_status == 400
    with pytest.raises(stripe.IdempotencyError):
        client.v1.products.create({"name": "x"}, {"idempotency_key": "other"})


def test_a_validation_error_does_not_consume_the_key(client: stripe.StripeClient) -> None:
    wrong: Any = {"nonsense": "1"}
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.customers.create(wrong, {"idempotency_key": "wrong-first"})
    assert create(client, "wrong-first", email="right@example.org").id


def test_a_decline_is_replayed(client: stripe.StripeClient) -> None:
    order: Any = {"amount": 5_000, "currency": "usd", "confirm": True, "payment_method": "pm_card_chargeDeclined"}
    order["return_url"] = RETURN_URL
    ids = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as raised:
            client.v1.payment_intents.create(order, {"idempotency_key": "declined"})
        ids.append(error_of(raised.value)["payment_intent"]["id"])
    assert ids[0] == ids[1]


def test_a_concurrent_request_with_the_same_key_is_a_409(client: stripe.StripeClient, operator: Operator) -> None:
    operator.faults(api_delay_seconds=1_000_000.0)  # 500 real seconds
    first = threading.Thread(target=create, args=(client, "in-flight"), kwargs={"email": "slow@example.org"})
    first.start()
    try:
        until(lambda: client.v1.customers.list({"email": "slow@example.org"}).data)
        with pytest.raises(stripe.StripeError) as raised:
            create(client, "in-flight", email="slow@example.org")
        assert raised.value.http_status == 409
        assert error_of(raised.value)["code"] == "idempotency_key_in_use"
    finally:
        operator.faults()
        first.join()
    assert len(client.v1.customers.list({"email": "slow@example.org"}).data) == 1


def test_a_lost_response_and_the_sdks_retry_create_one_session(running: Running, operator: Operator) -> None:
    client = stripe.StripeClient(SECRET_KEY, base_addresses={"api": running.base_url}, max_network_retries=2)
    operator.faults(lose_answers=1)
    session = new_session(client, client_reference_id="lost-answer")
    assert session.last_response and session.last_response.headers["idempotent-replayed"] == "true"
    found = [s for s in client.v1.checkout.sessions.list({"limit": 100}).data if s.client_reference_id == "lost-answer"]
    assert [s.id for s in found] == [session.id]


def test_only_a_client_that_waits_loses_its_answer(running: Running, operator: Operator) -> None:
    operator.faults(api_delay_seconds=1_000_000.0)  # 500 real seconds
    impatient = stripe.HTTPXClient(timeout=0.3, allow_sync_methods=True)
    with pytest.raises(stripe.APIConnectionError):
        create(
            stripe.StripeClient(SECRET_KEY, base_addresses={"api": running.base_url}, http_client=impatient),
            "impatient",
        )
    operator.faults(lose_answers=1)
    time.sleep(0.5)  # the delayed request ends
    client = stripe.StripeClient(SECRET_KEY, base_addresses={"api": running.base_url})
    with pytest.raises(stripe.APIConnectionError):
        create(client, "patient")


def test_a_500_has_no_effect_and_can_be_retried(client: stripe.StripeClient, operator: Operator) -> None:
    operator.faults(fail_requests=1)
    with pytest.raises(stripe.APIError) as raised:
        create(client, "after-500", email="fail@example.org")
    assert raised.value.http_status == 500
    assert create(client, "after-500", email="fail@example.org").id
