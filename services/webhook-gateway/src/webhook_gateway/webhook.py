"""POST /api/stripe/webhook: verify, store, respond. The relay translates and publishes the event afterward.

An ASGI app in front of FastAPI, which costs more per request than everything that is done here. What cannot be a
delivery is rejected before its body is read, and before anything is computed, so that forgeries cost little.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime

import structlog
from prometheus_client import Counter, Gauge
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from kit.http.app import BODY_LIMIT
from kit.http.problems import INTERNAL_ERROR, TOO_LARGE, Problem
from kit.messaging.outbox import to_message
from kit.runtime import metrics
from kit.runtime.failures import Transient, describe
from webhook_gateway.context import GatewayContext
from webhook_gateway.event import StripeEvent, parse_event
from webhook_gateway.journal import EventConflict
from webhook_gateway.problems import EVENT_CONFLICT, NO_STORE
from webhook_gateway.signature import Signature
from webhook_gateway.spill import spilled
from webhook_gateway.translate import TRANSLATED, translate

log = structlog.get_logger(__name__)

PATHS = ("/api/stripe/webhook", "/api/webhooks/stripe", "/api/webhook/stripe", "/api/payments/webhook")
LOG_SECONDS = 1.0
"""A line that a request causes is written at most once in so many seconds; the metrics count all."""

RECEIVED = Counter(
    "bursar_stripe_events_total", "Verified events by type and by the store they went to", ["type", "in"]
)
LAST_RECEIVED = Gauge(
    "bursar_last_webhook_timestamp_seconds", "When the last verified event came; 0: not since the start"
)
REJECTED = Counter("bursar_stripe_rejected_total", "Deliveries that were not valid Stripe events", ["code"])

_RESPONSE = b'{"received":true}'
_ACCEPTED = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(_RESPONSE)).encode())],
}
_BODY = {"type": "http.response.body", "body": _RESPONSE}


class WebhookEndpoint:
    """Responds to POST requests for one of PATHS; passes everything else on to `app`."""

    def __init__(self, app: ASGIApp, *, context: GatewayContext) -> None:
        self._app = app
        self._context = context
        self._logged_at: dict[str, float] = {}
        self._responses: dict[tuple[str, str], Response] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or (route := _route(scope["path"])) is None:
            await self._app(scope, receive, send)
            return
        started_at = time.perf_counter()
        status = 500
        try:
            await self._receive(scope, receive)
            status = 200
            await send(_ACCEPTED)
            await send(_BODY)
        except Problem as problem:
            status = problem.status
            await self._response(problem)(scope, receive, send)
        except _Disconnected:
            status = 499  # nginx's code for it
        except Exception as error:
            log.error("unexpected", route=route, exc_info=error)
            await INTERNAL_ERROR().response()(scope, receive, send)
        finally:
            metrics.REQUESTS.labels("POST", route, str(status)).observe(time.perf_counter() - started_at)

    async def _receive(self, scope: Scope, receive: Receive) -> None:
        headers = _headers(scope)
        try:
            if len(length := headers.get(b"content-length", b"")) > 9 or int(length or b"0") > BODY_LIMIT:
                raise _too_large()
            signature = Signature.parse(headers.get(b"stripe-signature", b"").decode("latin-1"))
            signature.check_age(time.time())
            body = await _body(receive)
            header = signature.verify(body, self._context.secrets)
            event = parse_event(body, signature=header)
            self._context.origin.check(event)
        except Problem as problem:
            self._rejected(problem.code)
            raise
        store = await self._store(event)
        log.info("webhook accepted", event_id=event.id, type=event.type, store=store)
        LAST_RECEIVED.set_to_current_time()
        RECEIVED.labels(event.type if event.type in TRANSLATED else "other", store).inc()

    def _rejected(self, code: str) -> None:
        REJECTED.labels(code).inc()
        if self._may_log(code):
            log.warning("webhooks rejected", code=code)

    def _may_log(self, code: str) -> bool:
        now = time.monotonic()
        if now - self._logged_at.get(code, -LOG_SECONDS) < LOG_SECONDS:
            return False
        self._logged_at[code] = now
        return True

    def _response(self, problem: Problem) -> Response:
        """Rendered once: details are constants."""
        key = problem.code, problem.detail
        if (response := self._responses.get(key)) is None:
            response = self._responses[key] = problem.response()
        return response

    async def _store(self, event: StripeEvent) -> str:
        """Writes the event to the journal or, if the database is down, to the spill queue, which is journaled later.

        Returns the name of the store. Raises a 503 Problem if both are down, and a 409 Problem if another event with
        its id is stored (with the database down, the spill is compared later).
        """
        try:
            await self._context.journal.write(event)
        except EventConflict:
            raise EVENT_CONFLICT() from None
        except Transient as journal_error:
            try:
                await self._spill(event)
            except Transient as broker_error:
                if self._may_log("no_store"):
                    log.error("no store available", journal=describe(journal_error), broker=describe(broker_error))
                raise NO_STORE(headers={"Retry-After": "5"}) from None
            if self._may_log("spilled"):
                log.warning("events spilled", event_id=event.id, journal=describe(journal_error))
            return "spill"
        return "journal"

    async def _spill(self, event: StripeEvent) -> None:
        """Stores the raw event in the broker and, at the same time, publishes what it means: the relay cannot, without
        the database. The relay publishes it again once the spilled event is journaled."""
        publisher = self._context.publisher
        meanings = translate(event.content, received_at=datetime.now(UTC))
        stored, *published = await asyncio.gather(
            publisher.publish(spilled(event)),
            *(publisher.publish(to_message(envelope)) for envelope in meanings),
            return_exceptions=True,
        )
        if stored is not None:
            raise stored
        for error in published:
            if error is not None and self._may_log("deferred"):
                log.warning("publishing deferred", event_id=event.id, error=describe(error))


def _route(path: str) -> str | None:
    if path in PATHS:
        return path
    path = path.rstrip("/")
    return path if path in PATHS else None


class _Disconnected(Exception):
    """The client has closed the connection."""


def _headers(scope: Scope) -> Mapping[bytes, bytes]:
    """The first value of each header."""
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        found.setdefault(name, value)
    return found


async def _body(receive: Receive) -> bytes:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message["body"]
        if len(body) > BODY_LIMIT:
            raise _too_large()
        return body
    chunks: list[bytes] = []
    size = 0
    while message["type"] == "http.request":
        chunks.append(message["body"])
        size += len(chunks[-1])
        if size > BODY_LIMIT:
            raise _too_large()
        if not message.get("more_body"):
            return b"".join(chunks)
        message = await receive()
    raise _Disconnected


def _too_large() -> Problem:
    return TOO_LARGE(f"The request body exceeds {BODY_LIMIT} bytes.")
