"""The Stripe sandbox as its own process, the operator in it, and Stripe's objects as the official SDK reads them."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import httpx
import stripe
from tests.checkout.stripe_ids import SECRET_KEY

from contracts.envelope import Envelope
from contracts.payments import PaymentEvent
from kit.db.unit_of_work import utc_now
from testkit.processes import Command, Process, free_ports
from webhook_gateway.translate import translate


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
        self._after = ""
        self._events: list[dict[str, Any]] = []
        self._gateway_events: list[Envelope[Any]] = []
        self.api = stripe.StripeClient(SECRET_KEY, base_addresses={"api": self.url}).v1

    def __enter__(self) -> StripeSandbox:
        self._process.start().wait_ready(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()

    async def operate(self, path: str, **body: Any) -> dict[str, Any]:
        async with httpx.AsyncClient(base_url=self.url, verify=False) as http:
            answer = await http.post(f"/sandbox/api{path}", json=body)
        assert answer.status_code in (200, 402), answer.text
        return dict(answer.json())

    async def faults(self, **faults: Any) -> None:
        async with httpx.AsyncClient(base_url=self.url, verify=False) as http:
            assert (await http.put("/sandbox/api/faults", json=faults)).status_code == 200

    async def pay(self, session_id: str, **choice: Any) -> dict[str, Any]:
        return await self.operate(f"/sessions/{session_id}/pay", **{"email": "ada@example.org", **choice})

    async def sessions_of(self, student_id: object) -> list[stripe.checkout.Session]:
        """Every session that was ever made for the student, newest first."""
        mine: list[dict[str, Any]] = []
        more: dict[str, Any] = {"limit": 100}
        async with httpx.AsyncClient(
            base_url=self.url, verify=False, headers={"Authorization": f"Bearer {SECRET_KEY}"}
        ) as http:
            while more:  # as JSON: the SDK takes longer to make objects of everybody's than the sandbox to answer
                page = (await http.get("/v1/checkout/sessions", params=more)).json()
                mine += [each for each in page["data"] if each["metadata"].get("student_id") == str(student_id)]
                more = {"limit": 100, "starting_after": page["data"][-1]["id"]} if page["has_more"] else {}
        return [stripe.checkout.Session.construct_from(each, SECRET_KEY) for each in mine]

    async def events(self) -> list[dict[str, Any]]:
        """All that has happened, oldest first."""
        await self._catch_up()
        return self._events

    async def gateway_events(self) -> list[Envelope[Any]]:
        """The payment events that the gateway makes of all that has happened."""
        await self._catch_up()
        return self._gateway_events

    async def _catch_up(self) -> None:
        async with httpx.AsyncClient(base_url=self.url, verify=False) as http:
            while True:
                since = {"after": self._after} if self._after else {}
                found = (await http.get("/sandbox/api/events", params={"limit": 1000, **since})).json()
                for event in (json.loads(each["body"]) for each in found["events"]):
                    self._events.append(event)
                    translated = translate(event, received_at=utc_now())
                    self._gateway_events += [each for each in translated if isinstance(each.data, PaymentEvent)]
                self._after = found["next"] or self._after
                if not found["has_more"]:
                    return


def metadata_of(thing: Any) -> dict[str, str]:
    return dict(thing.metadata.to_dict()) if thing.metadata else {}
