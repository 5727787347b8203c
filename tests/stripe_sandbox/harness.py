"""Helpers for tests against a running sandbox: server, webhook receiver, operator API, common requests."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import stripe
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

SECRET_KEY = "sk_test_contract"
WEBHOOK_SECRET = "whsec_contract"
TIME_FACTOR = 2_000.0  # the first retry follows after 30 ms, the last after two minutes


@contextmanager
def serving(app: Starlette, port: int) -> Iterator[None]:
    """Runs the app under uvicorn in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", lifespan="on"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    yield
    server.should_exit = True
    thread.join(10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Polls until the condition returns a true value, and returns it. Fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)
    return value


@dataclass(frozen=True)
class Received:
    """One received webhook."""

    body: bytes
    signature: str
    event: dict[str, Any]


@dataclass
class Receiver:
    """A webhook endpoint and what it received. `statuses` are those of the next responses, then 200."""

    url: str
    received: list[Received] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    def of(self, *types: str) -> list[dict[str, Any]]:
        return [r.event for r in self.received if r.event["type"] in types]

    def types(self) -> list[str]:
        return [r.event["type"] for r in self.received]

    async def take(self, request: Request) -> Response:
        body = await request.body()
        signature = request.headers["stripe-signature"]
        stripe.WebhookSignature.verify_header(body, signature, WEBHOOK_SECRET, tolerance=300)
        self.received.append(Received(body, signature, (await request.json())))
        status = self.statuses.pop(0) if self.statuses else 200
        return RedirectResponse("/elsewhere") if status == 307 else PlainTextResponse("", status)


@dataclass
class Operator:
    """A client of the operator API."""

    http: httpx.Client
    faulty: bool = False

    def do(self, path: str, *, status: int = 200, **body: Any) -> dict[str, Any]:
        """POSTs to the operator API. `status` is the expected HTTP status."""
        return self._post(path, body, status)

    def close_dispute(self, dispute: str, outcome: str) -> dict[str, Any]:
        return self._post(f"/disputes/{dispute}/close", {"status": outcome}, 200)

    def _post(self, path: str, body: dict[str, Any], status: int) -> dict[str, Any]:
        response = self.http.post(f"/sandbox/api{path}", json=body)
        assert response.status_code == status, response.text
        return dict(response.json())

    def get(self, path: str, **query: str) -> dict[str, Any]:
        response = self.http.get(f"/sandbox/api{path}", params=query)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def all_events(self) -> list[dict[str, Any]]:
        """All logged events, oldest first, as raw JSON: faster than SDK objects."""
        events: list[dict[str, Any]] = []
        page: dict[str, Any] = {"next": None, "has_more": True}
        while page["has_more"]:
            page = self.get("/events", **({"after": page["next"]} if page["next"] else {}))
            events += [json.loads(event["body"]) for event in page["events"]]
        return events

    def faults(self, **faults: Any) -> None:
        """Replaces the faults in force; none clears them."""
        self.faulty = bool(faults)
        assert self.http.put("/sandbox/api/faults", json=faults).status_code == 200

    def pay(self, session: str, *, status: int = 200, **form: Any) -> dict[str, Any]:
        return self.do(f"/sessions/{session}/pay", status=status, **{"email": "ada@example.org", **form})

    def reset(self) -> None:
        """Clears faults, and waits for all deliveries."""
        if self.faulty:
            self.faults()
            self.do("/held/release")
        self.wait_idle()

    def wait_idle(self) -> None:
        until(lambda: self.get("/idle")["idle"])


@dataclass(frozen=True)
class Running:
    base_url: str
    receiver: Receiver


LINE = {
    "quantity": 1,
    "price_data": {"currency": "usd", "unit_amount": 489_000, "product_data": {"name": "Barber apprenticeship"}},
}
RETURN_URL = "https://school.example/back"
SUCCESS = "https://school.example/enroll/success?session_id={CHECKOUT_SESSION_ID}&program=barber"


def new_session(client: stripe.StripeClient, **params: Any) -> stripe.checkout.Session:
    """A payment session for 4,890 USD by default."""
    given: Any = {"mode": "payment", "line_items": [LINE], "success_url": SUCCESS, **params}
    return client.v1.checkout.sessions.create(given)


def monthly(client: stripe.StripeClient, amount: int = 122_250) -> str:
    """A monthly price of `amount` cents."""
    price = client.v1.prices.create(
        {
            "currency": "usd",
            "unit_amount": amount,
            "recurring": {"interval": "month"},
            "product_data": {"name": "Barber apprenticeship, installment"},
        }
    )
    return price.id


def events_of(client: stripe.StripeClient, since: str | None, *types: str) -> list[Any]:
    """Events logged after `since`, oldest first, filtered by type if any are given."""
    params: Any = {"limit": 100}
    if since is not None:
        params["ending_before"] = since
    if types:
        params["types"] = list(types)
    return list(client.v1.events.list(params).data)[::-1]


def last_event(client: stripe.StripeClient) -> str | None:
    found = client.v1.events.list({"limit": 1}).data
    return found[0].id if found else None


def error_of(raised: stripe.StripeError) -> dict[str, Any]:
    """The `error` hash of the response body of an SDK exception."""
    body: Any = raised.json_body
    return dict(body["error"])


def plain(obj: Any) -> dict[str, Any]:
    """An SDK object as a dictionary, recursively."""
    return dict(obj.to_dict())
