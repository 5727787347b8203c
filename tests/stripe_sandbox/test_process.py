"""The sandbox as a process, configured by its environment and stopped by SIGTERM."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import httpx
import pytest
import stripe
from tests.stripe_sandbox.harness import free_port, until

pytestmark = pytest.mark.server  # starts the sandbox as a process


def test_it_starts_responds_and_stops_gracefully() -> None:
    port = free_port()
    environment = {
        **os.environ,
        "STRIPE_SANDBOX_PORT": str(port),
        "STRIPE_SANDBOX_SECRET_KEY": "sk_test_process",
        "STRIPE_SANDBOX_PUBLIC_URL": "https://pay.example/",
    }
    process = subprocess.Popen([sys.executable, "-m", "stripe_sandbox"], env=environment)
    try:
        base = f"http://127.0.0.1:{port}"

        def healthy() -> bool:
            try:
                return httpx.get(f"{base}/healthz", verify=False).status_code == 200
            except httpx.TransportError:
                return False

        until(healthy, 20)
        client = stripe.StripeClient("sk_test_process", base_addresses={"api": base})
        customer = client.v1.customers.create({})
        portal = client.v1.billing_portal.sessions.create({"customer": customer.id})
        assert portal.url.startswith("https://pay.example/p/session/")
        process.send_signal(signal.SIGTERM)
        # uvicorn shuts down gracefully, then raises the signal again.
        assert process.wait(10) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        process.wait(10)
