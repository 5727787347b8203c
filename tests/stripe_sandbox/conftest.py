"""A real sandbox under uvicorn on a loopback port, the official SDK as its client, and a receiver for its webhooks."""

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
    listening = Starlette(routes=[Route("/hook", receiver.take, methods=["POST"])])
    with serving(listening, receiver_port), serving(create_app(settings), sandbox_port):
        yield Running(f"http://127.0.0.1:{sandbox_port}", receiver)


@pytest.fixture
def http(running: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.base_url, follow_redirects=False, timeout=10) as client:
        yield client


@pytest.fixture
def operator(http: httpx.Client) -> Iterator[Operator]:
    """Every test starts and ends without faults and with nothing on its way."""
    ordered = Operator(http)
    yield ordered
    ordered.faults()
    ordered.do("/held/release")
    ordered.wait_idle()


@pytest.fixture
def receiver(running: Running, operator: Operator) -> Receiver:
    operator.wait_idle()
    running.receiver.received.clear()
    running.receiver.answers.clear()
    return running.receiver


@pytest.fixture
def sandbox() -> InProcessSandbox:
    """A fresh sandbox without a server."""
    return InProcessSandbox()


@pytest.fixture(scope="package")
def client(running: Running) -> stripe.StripeClient:
    return stripe.StripeClient(SECRET_KEY, base_addresses={"api": running.base_url}, max_network_retries=0)
