"""The gateway's processes and a running Stripe sandbox whose webhooks are lost."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.deliveries import envelope
from tests.processes import RunningRole
from tests.waiting import until
from tests.webhook_gateway import stripe_events as stripe
from tests.webhook_gateway.harness import PUBLISHED, TLS, Gateway, running

from contracts.checkout import StripeEventsRequested
from contracts.payments import PaymentSucceeded
from kit.messaging.broker import Publisher
from kit.messaging.outbox import to_message
from kit.messaging.topology import declare_at
from testkit.postgres_server import PostgresServer
from testkit.processes import Command, Process, free_ports
from testkit.rabbit_server import RabbitServer
from webhook_gateway.translate import TRANSLATED

KEY = "sk_test_lost_webhooks"


@pytest.fixture(scope="module")
def sandbox_url() -> Iterator[str]:
    """Delivers no webhooks: it has no endpoint."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    sandbox = Process(
        Command(
            name="stripe_sandbox",
            argv=[sys.executable, "-m", "stripe_sandbox"],
            env={
                **os.environ,
                "STRIPE_SANDBOX_PORT": str(port),
                "STRIPE_SANDBOX_SECRET_KEY": KEY,
                "STRIPE_SANDBOX_WEBHOOK_SECRET": stripe.SECRET,
            },
            ready_url=f"{url}/healthz",
        )
    )
    try:
        sandbox.start().wait_ready(20)
        yield url
    finally:
        sandbox.stop()


@pytest.fixture(scope="module")
def gateway(postgres_server: PostgresServer, rabbit_server: RabbitServer, sandbox_url: str) -> Iterator[Gateway]:
    settings = {"STRIPE_API_KEY": KEY, "STRIPE_API_BASE": sandbox_url}
    with running(postgres_server, rabbit_server, "gateway_lost_webhooks", **settings) as started:
        yield started


async def pay(sandbox_url: str, purchase_id: str) -> tuple[str, list[dict[str, Any]]]:
    """Returns the id of a paid session, and all events of the sandbox."""
    session = {
        "mode": "payment",
        "success_url": "https://school.example/ok",
        "line_items[0][quantity]": "1",
        "line_items[0][price_data][currency]": "usd",
        "line_items[0][price_data][unit_amount]": "57500",
        "line_items[0][price_data][product_data][name]": "CPR",
        "metadata[purchase_id]": purchase_id,
        "metadata[student_id]": stripe.STUDENT,
        "metadata[program_slug]": "cpr",
    }
    async with httpx.AsyncClient(base_url=sandbox_url, verify=TLS, auth=(KEY, "")) as http:
        created = await http.post("/v1/checkout/sessions", data=session)
        session_id = created.raise_for_status().json()["id"]
        paid = await http.post(f"/sandbox/api/sessions/{session_id}/pay", json={"email": "ada@example.org"})
        paid.raise_for_status()
        return session_id, (await http.get("/sandbox/api/events")).json()["events"]


async def test_a_payment_whose_webhooks_were_lost_is_published(gateway: Gateway, sandbox_url: str) -> None:
    await declare_at(gateway.amqp_url, [PUBLISHED])
    await gateway.published()
    purchase_id = str(uuid4())
    session_id, events = await pay(sandbox_url, purchase_id)
    assert await gateway.journal() == {}, "nothing was delivered"

    publisher = Publisher(gateway.amqp_url, name="tests")
    request = envelope(f"request_{uuid4()}", StripeEventsRequested(object=session_id))
    await publisher.publish(to_message(request))
    await publisher.close()
    seen: list[PaymentSucceeded] = []

    async def all_published() -> bool:
        seen.extend(e.data for e in await gateway.published() if isinstance(e.data, PaymentSucceeded))
        return len(seen) >= 3

    await until(all_published, what="the session, its intent and its charge")
    assert {str(event.purchase_id) for event in seen} <= {purchase_id, "None"}
    assert {event.amount.amount for event in seen} == {57_500}
    assert {event.details.brand for event in seen if event.details} == {"visa"}

    journaled = await gateway.journal()
    for event in events:  # Stripe delivers them after all
        if event["id"] in journaled:
            assert (await gateway.post(event["body"].encode(), signature=event["signature"])).status_code == 200
    assert await gateway.published() == []


async def test_the_reconciler_restores_what_nobody_has_asked_for(gateway: Gateway, sandbox_url: str) -> None:
    _, events = await pay(sandbox_url, str(uuid4()))
    settings = {"RECONCILE_SECONDS": "0.1", "RECONCILE_GRACE_SECONDS": "0", "RECONCILE_REQUESTS_PER_SECOND": "50"}
    reconciler = RunningRole("webhook_gateway", "reconciler", {**gateway.relay.command.env, **settings})
    try:
        reconciler.start().wait_ready(20)

        async def restored() -> bool:
            return {each["id"] for each in events if each["type"] in TRANSLATED} <= (await gateway.journal()).keys()

        await until(restored, what="all events of the sandbox")
        async with httpx.AsyncClient(verify=TLS) as http:
            metrics = (await http.get(f"{reconciler.internal_url}/metrics")).text
        assert 'bursar_stripe_endpoint_problem{problem="missing"} 1.0' in metrics, "the sandbox has no endpoint"
    finally:
        reconciler.stop()
