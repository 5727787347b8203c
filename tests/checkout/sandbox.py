"""The Stripe sandbox as its own process, the operator in it, and Stripe's objects as the official SDK reads them."""

from __future__ import annotations

import os
import sys
from typing import Any

import httpx
import stripe
from tests.checkout.stripe_ids import SECRET_KEY

from kit.testing.processes import Command, Process, free_ports


class StripeSandbox:
    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = Process(
            Command(
                name="stripe_sandbox",
                argv=[sys.executable, "-m", "stripe_sandbox"],
                env={
                    **os.environ,
                    "STRIPE_SANDBOX_PORT": str(self.port),
                    "STRIPE_SANDBOX_SECRET_KEY": SECRET_KEY,
                },
                ready_url=f"{self.url}/healthz",
            )
        )
        self.api = stripe.StripeClient(SECRET_KEY, base_addresses={"api": self.url}).v1

    def __enter__(self) -> StripeSandbox:
        self._process.start().wait_ready(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()

    async def operate(self, path: str, **body: Any) -> dict[str, Any]:
        async with httpx.AsyncClient(base_url=self.url) as http:
            answer = await http.post(f"/sandbox/api{path}", json=body)
        assert answer.status_code in (200, 402), answer.text
        return dict(answer.json())

    async def faults(self, **faults: Any) -> None:
        async with httpx.AsyncClient(base_url=self.url) as http:
            assert (await http.put("/sandbox/api/faults", json=faults)).status_code == 200

    async def pay(self, session_id: str, **choice: Any) -> dict[str, Any]:
        return await self.operate(f"/sessions/{session_id}/pay", **{"email": "ada@example.org", **choice})

    async def sessions_of(self, student_id: object) -> list[stripe.checkout.Session]:
        """Every session that was ever made for the student, newest first."""
        found = await self.api.checkout.sessions.list_async({"limit": 100})
        return [s async for s in found.auto_paging_iter() if metadata_of(s).get("student_id") == str(student_id)]

    async def events(self) -> list[dict[str, Any]]:
        """All that has happened, oldest first."""
        found = await self.api.events.list_async({"limit": 100})
        return [event.to_dict() async for event in found.auto_paging_iter()][::-1]


def metadata_of(thing: Any) -> dict[str, str]:
    return dict(thing.metadata.to_dict()) if thing.metadata else {}
