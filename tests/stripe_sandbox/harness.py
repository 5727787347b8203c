"""What the sandbox's tests share: a receiver of webhooks, the operator's calls, and ready-made requests."""

from __future__ import annotations

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
TIME_FACTOR = 2_000.0  # the first retry comes after 30 ms, the last after two minutes


@contextmanager
def serving(app: Starlette, port: int) -> Iterator[None]:
    """The app under a real uvicorn in a thread of its own."""
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


def until(holds: Callable[[], Any], seconds: float = 8.0) -> Any:
    """Wait until something is true, and return it; fail when it takes too long."""
    deadline = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)
    return value


@dataclass(frozen=True)
class Received:
    """One delivery as it came over the wire."""

    body: bytes
    signature: str
    event: dict[str, Any]


@dataclass
class Receiver:
    """What a webhook endpoint has been sent. `answers` holds the statuses to give next; then it is 200."""

    url: str
    received: list[Received] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    def of(self, *types: str) -> list[dict[str, Any]]:
        return [r.event for r in self.received if r.event["type"] in types]

    def types(self) -> list[str]:
        return [r.event["type"] for r in self.received]

    async def take(self, request: Request) -> Response:
        body = await request.body()
        signature = request.headers["stripe-signature"]
        stripe.WebhookSignature.verify_header(body, signature, WEBHOOK_SECRET, tolerance=300)
        self.received.append(Received(body, signature, (await request.json())))
        status = self.answers.pop(0) if self.answers else 200
        return RedirectResponse("/elsewhere") if status == 307 else PlainTextResponse("", status)


@dataclass(frozen=True)
class Operator:
    """The sandbox's JSON operator API, and a browser for its pages (which follows no redirect)."""

    http: httpx.Client

    def do(self, path: str, *, status: int = 200, **body: Any) -> dict[str, Any]:
        """One operator call with a JSON body; `status` is the HTTP status that must come back."""
        return self._post(path, body, status)

    def close_dispute(self, dispute: str, verdict: str) -> dict[str, Any]:
        return self._post(f"/disputes/{dispute}/close", {"status": verdict}, 200)

    def _post(self, path: str, body: dict[str, Any], status: int) -> dict[str, Any]:
        answer = self.http.post(f"/sandbox/api{path}", json=body)
        assert answer.status_code == status, answer.text
        return dict(answer.json())

    def get(self, path: str, **query: str) -> dict[str, Any]:
        answer = self.http.get(f"/sandbox/api{path}", params=query)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def faults(self, **faults: Any) -> None:
        assert self.http.put("/sandbox/api/faults", json=faults).status_code == 200

    def pay(self, session: str, *, status: int = 200, **choice: Any) -> dict[str, Any]:
        return self.do(f"/sessions/{session}/pay", status=status, **{"email": "ada@example.org", **choice})

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
    """Logged events newer than `since`, oldest first; of these types where any are given."""
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
    """The `error` hash of the body that an SDK exception was made from."""
    body: Any = raised.json_body
    return dict(body["error"])


def plain(obj: Any) -> dict[str, Any]:
    """An SDK object as a plain dictionary, nested ones included."""
    return dict(obj.to_dict())
