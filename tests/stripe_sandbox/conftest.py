"""A sandbox under uvicorn on a loopback port, the official SDK as its client, and a receiver of its webhooks."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
import stripe
from starlette.applications import Starlette
from starlette.routing import Route
from tests.stripe_sandbox.harness import (
    SECRET_KEY,
    TIME_FACTOR,
    WEBHOOK_SECRET,
    Operator,
    Receiver,
    Running,
    free_port,
    serving,
)
from tests.stripe_sandbox.in_process import InProcessSandbox

from stripe_sandbox.app import create_app
from stripe_sandbox.settings import Settings


@pytest.fixture(scope="package")
def running() -> Iterator[Running]:
    sandbox_port, receiver_port = free_port(), free_port()
    receiver = Receiver(f"http://127.0.0.1:{receiver_port}/hook")
    settings = Settings(
        port=sandbox_port,
        secret_key=SECRET_KEY,
        webhook_url=receiver.url,
        webhook_secret=WEBHOOK_SECRET,
        time_factor=TIME_FACTOR,
        delivery_timeout=2.0,
    )
    endpoint = Starlette(routes=[Route("/hook", receiver.take, methods=["POST"])])
    with serving(endpoint, receiver_port), serving(create_app(settings), sandbox_port):
        yield Running(f"http://127.0.0.1:{sandbox_port}", receiver)


@pytest.fixture(scope="package")
def http(running: Running) -> Iterator[httpx.Client]:
    """A client of the pages and the operator API that does not follow redirects."""
    with httpx.Client(base_url=running.base_url, follow_redirects=False, timeout=10, verify=False) as client:
        yield client


@pytest.fixture(scope="package")
def client(running: Running) -> stripe.StripeClient:
    return stripe.StripeClient(SECRET_KEY, base_addresses={"api": running.base_url}, max_network_retries=0)


@pytest.fixture(scope="package")
def endpoint(client: stripe.StripeClient) -> str:
    """The id of the receiver's webhook endpoint. It is disabled except in tests that use `receiver`."""
    (registered,) = client.v1.webhook_endpoints.list().data
    client.v1.webhook_endpoints.update(registered.id, {"disabled": True})
    return registered.id


@pytest.fixture
def operator(http: httpx.Client, endpoint: str) -> Iterator[Operator]:
    """Faults and held deliveries are cleared after each test."""
    operator = Operator(http)
    yield operator
    operator.reset()


@pytest.fixture
def receiver(running: Running, client: stripe.StripeClient, operator: Operator, endpoint: str) -> Iterator[Receiver]:
    """Receives the webhooks of this test."""
    running.receiver.received.clear()
    running.receiver.statuses.clear()
    client.v1.webhook_endpoints.update(endpoint, {"disabled": False})
    yield running.receiver
    operator.reset()
    client.v1.webhook_endpoints.update(endpoint, {"disabled": True})


@pytest.fixture
def sandbox() -> InProcessSandbox:
    """A new sandbox without a server."""
    return InProcessSandbox()
