"""POST /api/stripe/webhook: verify, store, respond. The relay translates and publishes the event afterward."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import structlog
from fastapi import APIRouter, Request
from prometheus_client import Counter

from kit.http.app import BODY_LIMIT
from kit.http.errors import Problem
from kit.messaging.outbox import OutgoingMessage, to_message
from kit.runtime.failures import Transient, describe
from webhook_gateway.context import GatewayContext
from webhook_gateway.event import StripeEvent, decode, parse_event
from webhook_gateway.journal import EventConflict
from webhook_gateway.signature import verify
from webhook_gateway.topology import SPILL
from webhook_gateway.translate import TRANSLATED, translate

log = structlog.get_logger(__name__)

PATHS = ("/api/stripe/webhook", "/api/webhooks/stripe", "/api/webhook/stripe", "/api/payments/webhook")

RECEIVED = Counter(
    "bursar_stripe_events_total", "Verified events by type and by the store they went to", ["type", "in"]
)
REJECTED = Counter("bursar_stripe_rejected_total", "Deliveries that were not valid Stripe events", ["code"])

router = APIRouter(tags=["stripe"])


async def receive(request: Request) -> dict[str, bool]:
    """Accepts one signed Stripe event. 200: stored. 503: not stored, deliver it again. 400, 413: not a valid event, or
    not of our account and mode. 409: another event with this id is stored."""
    context: GatewayContext = request.app.state.context
    try:
        body = await _body(request)
        verify(header=request.headers.get("stripe-signature"), body=body, secrets=context.secrets, now=time.time())
        event = parse_event(body)
        context.origin.check(event)
    except Problem as problem:
        REJECTED.labels(problem.code).inc()
        log.warning("webhook rejected", code=problem.code, bytes=request.headers.get("content-length", "")[:12])
        raise
    store = await _store(context, event)
    RECEIVED.labels(event.type if event.type in TRANSLATED else "other", store).inc()
    return {"received": True}


_OPENAPI = {
    "parameters": [{"name": "Stripe-Signature", "in": "header", "required": True, "schema": {"type": "string"}}],
    "requestBody": {
        "required": True,
        "description": "The Stripe event, byte for byte as it was signed",
        "content": {"application/json": {"schema": {"type": "object"}}},
    },
}
for path in PATHS:
    name = path.strip("/").replace("/", "_")
    router.add_api_route(path, receive, methods=["POST"], name=name, openapi_extra=_OPENAPI)


async def _body(request: Request) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > BODY_LIMIT:
            raise Problem(413, "too_large", f"The request body exceeds {BODY_LIMIT} bytes.")
        chunks.append(chunk)
    return b"".join(chunks)


async def _store(context: GatewayContext, event: StripeEvent) -> str:
    """Writes the event to the journal or, if the database is down, to the spill queue, which is journaled later.

    Returns the name of the store. Raises a 503 Problem if both are down, and a 409 Problem if another event with its id
    is stored (with the database down, the spill is compared later).
    """
    try:
        await context.journal.write(event)
    except EventConflict:
        raise Problem(
            409, "event_conflict", "Another event with this id was received before. Report it to the operator."
        ) from None
    except Transient as journal_error:
        try:
            await _spill(context, event)
        except Transient as broker_error:
            log.error("no store available", journal=describe(journal_error), broker=describe(broker_error))
            raise Problem(
                503, "no_store", "The event could not be stored. Deliver it again.", headers={"Retry-After": "5"}
            ) from None
        log.warning("event spilled", event_id=event.id, journal=describe(journal_error))
        return "spill"
    return "journal"


async def _spill(context: GatewayContext, event: StripeEvent) -> None:
    """Stores the raw event in the broker, then publishes its translation without waiting for the database."""
    raw = OutgoingMessage(
        key=event.id, exchange=SPILL.exchange, routing_key=SPILL.name, body=event.body, mandatory=True
    )
    await context.publisher.publish(raw)
    for envelope in translate(decode(event.body), received_at=datetime.now(UTC)):
        try:
            await context.publisher.publish(to_message(envelope))
        except Transient as error:  # the relay publishes it once the spilled event is journaled
            log.warning("publishing deferred", event_id=event.id, error=describe(error))
