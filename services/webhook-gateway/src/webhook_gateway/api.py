"""POST /api/stripe/webhook: verify, store, answer. What the event means is somebody else's work, later."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

import structlog
from fastapi import APIRouter, Request
from prometheus_client import Counter

from kit.http.app import BODY_LIMIT
from kit.http.errors import Problem
from kit.messaging.broker import Publisher
from kit.messaging.outbox import OutgoingMessage, to_message
from kit.runtime.failures import Transient, describe
from webhook_gateway.event import StripeEvent, decode, read
from webhook_gateway.journal import Journal
from webhook_gateway.signature import verify
from webhook_gateway.topology import SPILL
from webhook_gateway.translate import TRANSLATED, translate

log = structlog.get_logger(__name__)

PATHS = ("/api/stripe/webhook", "/api/webhooks/stripe", "/api/webhook/stripe", "/api/payments/webhook")

RECEIVED = Counter(
    "bursar_stripe_events_total", "Verified events by type and by where they were stored", ["type", "in"]
)
REFUSED = Counter("bursar_stripe_refused_total", "Deliveries that were no event of Stripe's", ["code"])


class Door(Protocol):
    """What the route needs of its process."""

    secrets: Sequence[bytes]
    journal: Journal
    publisher: Publisher


router = APIRouter(tags=["stripe"])


async def receive(request: Request) -> dict[str, bool]:
    """Takes one signed event of Stripe's. 200: it is safe. 503: send it again. 400, 413: it is not an event."""
    door: Door = request.app.state.door
    try:
        body = await _body(request)
        verify(header=request.headers.get("stripe-signature"), body=body, secrets=door.secrets, now=time.time())
        event = read(body)
    except Problem as refusal:
        REFUSED.labels(refusal.code).inc()
        log.warning("refused", code=refusal.code, bytes=request.headers.get("content-length", "")[:12])
        raise
    stored_in = await _store(door, event)
    RECEIVED.labels(event.type if event.type in TRANSLATED else "other", stored_in).inc()
    return {"received": True}


_DOCUMENT = {
    "parameters": [{"name": "Stripe-Signature", "in": "header", "required": True, "schema": {"type": "string"}}],
    "requestBody": {
        "required": True,
        "description": "a Stripe event, byte for byte as it was signed",
        "content": {"application/json": {"schema": {"type": "object"}}},
    },
}
for path in PATHS:
    name = path.strip("/").replace("/", "_")
    router.add_api_route(path, receive, methods=["POST"], name=name, openapi_extra=_DOCUMENT)


async def _body(request: Request) -> bytes:
    parts: list[bytes] = []
    taken = 0
    async for part in request.stream():
        taken += len(part)
        if taken > BODY_LIMIT:
            raise Problem(413, "too_large", f"A body may have {BODY_LIMIT} bytes at the most.")
        parts.append(part)
    return b"".join(parts)


async def _store(door: Door, event: StripeEvent) -> str:
    """In the journal; with the database away, in a queue that is journaled later. Raises a 503 Problem without both."""
    try:
        await door.journal.write(event)
    except Transient as no_journal:
        try:
            await _spill(door, event)
        except Transient as no_broker:
            log.error("no store", journal=describe(no_journal), broker=describe(no_broker))
            raise Problem(
                503, "no_store", "The event could not be stored; send it again.", headers={"Retry-After": "5"}
            ) from None
        log.warning("spilled", event_id=event.id, journal=describe(no_journal))
        return "spill"
    return "journal"


async def _spill(door: Door, event: StripeEvent) -> None:
    """Keeps the raw event in the broker, then says at once what it means, so that nobody waits for the database."""
    raw = OutgoingMessage(key=event.id, exchange="", routing_key=SPILL.name, body=event.body, mandatory=True)
    await door.publisher.publish(raw)
    for said in translate(decode(event.body), received_at=datetime.now(UTC)):
        try:
            await door.publisher.publish(to_message(said))
        except Transient as error:
            log.warning("not said yet", event_id=event.id, error=describe(error))  # the spilled event says it later
