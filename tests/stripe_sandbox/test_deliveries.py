"""Webhook deliveries: signatures, retries and faults."""

from __future__ import annotations

import threading
import time
from typing import Any

import httpx
import stripe
from pydantic import SecretStr
from tests.stripe_sandbox.harness import SECRET_KEY, WEBHOOK_SECRET, Operator, Receiver, free_port, serving, until

from stripe_sandbox.app import create_app
from stripe_sandbox.delivery import retry_delays
from stripe_sandbox.settings import Settings


def make_event(client: stripe.StripeClient) -> None:
    """Causes one event, customer.created."""
    client.v1.customers.create({"description": "created for its event"})


def latest_event(client: stripe.StripeClient) -> Any:
    return client.v1.events.list({"limit": 1}).data[0]


def test_retry_delays_triple_and_end_within_three_days() -> None:
    delays = retry_delays()
    assert delays[:3] == [60.0, 180.0, 540.0]
    assert max(delays) == 12 * 3600
    assert 2.5 * 86_400 < sum(delays) <= 3 * 86_400


def test_any_status_but_2xx_is_retried_with_the_same_body(
    client: stripe.StripeClient, receiver: Receiver, operator: Operator
) -> None:
    receiver.statuses.extend([500, 404, 307, 204])
    make_event(client)
    operator.wait_idle()
    assert len(receiver.received) == 4
    assert len({r.body for r in receiver.received}) == 1
    assert len({r.event["id"] for r in receiver.received}) == 1
    [delivery] = operator.get("/deliveries", event=receiver.received[0].event["id"])["deliveries"]
    assert delivery["status"] == "delivered"
    assert [a["status"] for a in delivery["attempts"]] == [500, 404, 307, 204]


def test_each_attempt_has_a_new_signature(client: stripe.StripeClient, receiver: Receiver, operator: Operator) -> None:
    receiver.statuses.extend([503] * 4)  # the fifth attempt follows 1.2 real seconds after the first
    make_event(client)
    until(lambda: len(receiver.received) == 5)
    stamps = [int(r.signature.split(",")[0].removeprefix("t=")) for r in receiver.received]
    assert stamps[-1] > stamps[0] and abs(stamps[-1] - time.time()) < 5
    assert receiver.received[0].signature != receiver.received[-1].signature


def test_an_event_is_pending_until_it_is_delivered(
    client: stripe.StripeClient, receiver: Receiver, operator: Operator
) -> None:
    receiver.statuses.extend([500] * 3)
    make_event(client)
    event = latest_event(client)
    undelivered: Any = {"delivery_success": False, "limit": 100}
    assert event.id in [e.id for e in client.v1.events.list(undelivered).data]
    operator.wait_idle()
    assert event.id not in [e.id for e in client.v1.events.list(undelivered).data]
    assert client.v1.events.retrieve(event.id).pending_webhooks == 0


def test_a_dropped_event_is_listed_as_undelivered_and_can_be_resent(
    client: stripe.StripeClient, receiver: Receiver, operator: Operator
) -> None:
    operator.faults(drop=["customer.created"])
    make_event(client)
    event = latest_event(client)
    operator.wait_idle()
    assert receiver.received == []
    missing: Any = {"delivery_success": False, "types": ["customer.created"]}
    assert event.id in [e.id for e in client.v1.events.list(missing).data]
    operator.faults()
    assert operator.do(f"/events/{event.id}/resend")["endpoints"] == 1
    operator.wait_idle()
    assert [r.event["id"] for r in receiver.received] == [event.id]
    assert event.id not in [e.id for e in client.v1.events.list(missing).data]


def test_duplicates(client: stripe.StripeClient, receiver: Receiver, operator: Operator) -> None:
    operator.faults(duplicate=2)
    make_event(client)
    operator.wait_idle()
    assert len(receiver.received) == 3 and len({r.event["id"] for r in receiver.received}) == 1


def test_reordering_holds_a_window_and_shuffles_it(
    client: stripe.StripeClient, receiver: Receiver, operator: Operator
) -> None:
    operator.faults(reorder_window=8, reorder_hold_seconds=1e6, reorder_seed=7)
    for _ in range(7):
        make_event(client)
    assert until(lambda: operator.get("/idle")["held"] == 7) and receiver.received == []
    make_event(client)
    operator.wait_idle()
    arrived = [r.event["id"] for r in receiver.received]
    happened = [e.id for e in client.v1.events.list({"limit": 8}).data][::-1]
    assert sorted(arrived) == sorted(happened) and arrived != happened
    operator.faults(reorder_window=100, reorder_hold_seconds=100.0)  # 50 real milliseconds
    make_event(client)
    operator.wait_idle()
    assert len(receiver.received) == 9


def test_delay(client: stripe.StripeClient, receiver: Receiver, operator: Operator) -> None:
    operator.faults(delay_seconds=400.0)  # 200 real milliseconds
    started = time.monotonic()
    make_event(client)
    until(lambda: receiver.received)
    assert time.monotonic() - started >= 0.2


def test_webhooks_can_precede_the_response(client: stripe.StripeClient, receiver: Receiver, operator: Operator) -> None:
    operator.faults(before_answer=True)
    make_event(client)
    assert receiver.types() == ["customer.created"]


def test_webhooks_follow_the_response(client: stripe.StripeClient, receiver: Receiver, operator: Operator) -> None:
    operator.faults(api_delay_seconds=1_000_000.0)  # 500 real seconds
    caller = threading.Thread(target=make_event, args=(client,))
    caller.start()
    until(lambda: client.v1.events.list({"types": ["customer.created"], "limit": 1}).data)
    assert receiver.received == []
    operator.faults()
    caller.join()
    until(lambda: receiver.received)


def test_events_have_the_id_of_their_request(
    client: stripe.StripeClient, receiver: Receiver, operator: Operator
) -> None:
    customer = client.v1.customers.create({}, {"idempotency_key": f"cause-{time.time_ns()}"})
    operator.wait_idle()
    event = receiver.received[0].event
    assert customer.last_response
    assert event["request"]["id"] == customer.last_response.request_id
    assert event["request"]["idempotency_key"].startswith("cause-")


def test_endpoints_receive_their_enabled_events(
    client: stripe.StripeClient, receiver: Receiver, operator: Operator
) -> None:
    created = client.v1.webhook_endpoints.create(
        {"url": f"{receiver.url}", "enabled_events": ["product.created"], "api_version": "2026-10-28.endive"}
    )
    assert created.secret and created.secret.startswith("whsec_")
    operator.do(f"/webhook_endpoints/{created.id}/roll_secret", secret=WEBHOOK_SECRET)
    assert client.v1.webhook_endpoints.retrieve(created.id).to_dict().get("secret") is None
    client.v1.products.create({"name": "Course"})
    make_event(client)
    operator.wait_idle()
    assert sorted(receiver.types()) == ["customer.created", "product.created", "product.created"]
    client.v1.webhook_endpoints.update(created.id, {"disabled": True})
    receiver.received.clear()
    client.v1.products.create({"name": "Course"})
    operator.wait_idle()
    assert receiver.types() == ["product.created"]
    assert client.v1.webhook_endpoints.delete(created.id).deleted
    assert created.id not in [e.id for e in client.v1.webhook_endpoints.list().data]


def test_a_rolled_secret_signs_along_with_the_old_one(
    client: stripe.StripeClient, receiver: Receiver, operator: Operator
) -> None:
    endpoint = client.v1.webhook_endpoints.list({"limit": 100}).data[-1]
    operator.do(f"/webhook_endpoints/{endpoint.id}/roll_secret", secret="whsec_rolled", old_expires_in=60)
    try:
        make_event(client)
        operator.wait_idle()
        received = receiver.received[0]
        for secret in (WEBHOOK_SECRET, "whsec_rolled"):
            assert stripe.WebhookSignature.verify_header(received.body, received.signature, secret, tolerance=300)
    finally:
        operator.do(f"/webhook_endpoints/{endpoint.id}/roll_secret", secret=WEBHOOK_SECRET)


def test_retries_stop_when_the_endpoint_is_deleted(client: stripe.StripeClient, operator: Operator) -> None:
    url = f"http://127.0.0.1:{free_port()}/closed"
    created = client.v1.webhook_endpoints.create({"url": url, "enabled_events": ["product.created"]})
    client.v1.products.create({"name": "Undelivered"})
    event = client.v1.events.list({"type": "product.created", "limit": 1}).data[0]

    def attempts() -> Any:
        found = operator.get("/deliveries", event=event.id)["deliveries"]
        return next(d["attempts"] for d in found if d["endpoint"] == created.id)

    until(lambda: len(attempts()) >= 3)
    assert all(a["status"] is None and "ConnectError" in a["error"] for a in attempts())
    client.v1.webhook_endpoints.delete(created.id)
    operator.wait_idle()


def test_retries_stop_after_three_days_and_the_event_is_listed_as_undelivered() -> None:
    port, closed_url = free_port(), f"http://127.0.0.1:{free_port()}/closed"
    settings = Settings(port=port, secret_key=SecretStr(SECRET_KEY), webhook_url=closed_url, time_factor=1e6)
    with serving(create_app(settings), port):
        base = f"http://127.0.0.1:{port}"
        client = stripe.StripeClient(SECRET_KEY, base_addresses={"api": base})
        make_event(client)
        event = latest_event(client)
        with httpx.Client(base_url=base, verify=False) as http:
            operator = Operator(http)
            operator.wait_idle()
            [delivery] = operator.get("/deliveries", event=event.id)["deliveries"]
        assert (delivery["status"], len(delivery["attempts"])) == ("given_up", 1 + len(retry_delays()))
        lost: Any = {"delivery_success": False, "type": "customer.*"}
        assert [e.id for e in client.v1.events.list(lost).data] == [event.id]
        assert client.v1.events.retrieve(event.id).pending_webhooks == 1


def test_unknown_faults_are_rejected(operator: Operator) -> None:
    assert operator.http.put("/sandbox/api/faults", json={"explode": True}).status_code == 400
    assert operator.get("/faults")["duplicate"] == 0
    assert SECRET_KEY not in str(operator.get("/faults"))
