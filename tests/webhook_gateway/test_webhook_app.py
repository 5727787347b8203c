"""The webhook as an ASGI app: what is not a delivery costs little."""

from __future__ import annotations

import time
from typing import Any

import pytest
import structlog
from starlette.types import Message, Receive, Scope, Send
from tests.webhook_gateway import stripe_events as stripe
from tests.webhook_gateway.stripe_events import SECRET, body_of, sign

from kit.messaging.broker import Publisher
from webhook_gateway.context import GatewayContext
from webhook_gateway.event import Origin
from webhook_gateway.journal import Journal
from webhook_gateway.webhook import PATHS, WebhookEndpoint

BODY = body_of(stripe.event("payment_intent.succeeded", stripe.intent()))


async def behind(scope: Scope, receive: Receive, send: Send) -> None:
    """FastAPI's stand-in."""
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def endpoint() -> WebhookEndpoint:
    """Its stores are not there: nothing of what is tested here reaches them."""
    context = GatewayContext(
        secrets=[SECRET.encode()],
        origin=Origin(livemode=False),
        journal=Journal("postgresql://nobody@127.0.0.1:1/nothing"),
        publisher=Publisher("amqp://127.0.0.1:1/", name="tests"),
    )
    return WebhookEndpoint(behind, context=context)


async def post(endpoint: WebhookEndpoint, *messages: Message, path: str = PATHS[0], **changed: Any) -> int:
    """The status. Fails if more of the request is read than `messages`."""
    sent: list[Message] = []
    left = list(messages)

    async def receive() -> Message:
        return left.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(name.encode(), value.encode()) for name, value in changed.pop("headers", {}).items()]
    await endpoint({"type": "http", "method": "POST", "path": path, "headers": headers, **changed}, receive, send)
    assert not left
    return int(sent[0]["status"]) if sent else 0


REJECTED_UNREAD = {
    "no signature": {},
    "no timestamp": {"stripe-signature": "v1=00"},
    "an old timestamp": {"stripe-signature": sign(BODY, at=time.time() - 3600)},
    "too large": {"stripe-signature": sign(BODY), "content-length": "1048577"},
    "far too large": {"stripe-signature": sign(BODY), "content-length": "9" * 5000},
}


@pytest.mark.parametrize("name", REJECTED_UNREAD)
async def test_what_cannot_be_valid_is_rejected_unread(endpoint: WebhookEndpoint, name: str) -> None:
    assert await post(endpoint, headers=REJECTED_UNREAD[name]) in (400, 413)


async def test_forgeries_are_logged_once_a_second(endpoint: WebhookEndpoint) -> None:
    forged = {"stripe-signature": f"t={int(time.time())},v1={'0' * 64}"}
    with structlog.testing.capture_logs() as lines:
        for _ in range(50):
            message = {"type": "http.request", "body": BODY}
            assert await post(endpoint, message, headers=forged) == 400
    assert 1 <= len(lines) < 50


async def test_a_client_that_leaves_gets_no_answer(endpoint: WebhookEndpoint) -> None:
    part = {"type": "http.request", "body": BODY[:9], "more_body": True}
    assert await post(endpoint, part, {"type": "http.disconnect"}, headers={"stripe-signature": sign(BODY)}) == 0


async def test_without_a_store_the_answer_is_503(endpoint: WebhookEndpoint) -> None:
    message = {"type": "http.request", "body": BODY}
    assert await post(endpoint, message, headers={"stripe-signature": sign(BODY)}) == 503


@pytest.mark.parametrize(
    "changed", [{"method": "GET"}, {"path": "/healthz"}, {"path": PATHS[0] + "/x"}, {"type": "lifespan"}]
)
async def test_everything_else_is_passed_on(endpoint: WebhookEndpoint, changed: dict[str, str]) -> None:
    assert await post(endpoint, **changed) == 418
