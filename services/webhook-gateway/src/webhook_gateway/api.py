"""The webhook's route as the OpenAPI document describes it. `WebhookEndpoint` serves it, in front of FastAPI; what gets
here are requests with other methods, which are refused, and all requests to an app without stores."""

from __future__ import annotations

from fastapi import APIRouter

from webhook_gateway.problems import NO_STORE
from webhook_gateway.webhook import PATHS

router = APIRouter(tags=["stripe"])


async def receive() -> dict[str, bool]:
    """Accepts one signed Stripe event. 200: stored. 503: not stored, deliver it again. 400, 413: not a valid event, or
    not of our account and mode. 409: another event with this id is stored."""
    raise NO_STORE("This process has no store for events. Deliver it again.")


_EVENT = {"id": "evt_123", "object": "event", "type": "charge.refunded", "data": {"object": {"id": "ch_123"}}}
_OPENAPI = {
    "parameters": [{"name": "Stripe-Signature", "in": "header", "required": True, "schema": {"type": "string"}}],
    "requestBody": {
        "required": True,
        "description": "The Stripe event, byte for byte as it was signed",
        "content": {"application/json": {"schema": {"type": "object", "examples": [_EVENT]}}},
    },
}
for path in PATHS:
    name = "receive_stripe_event" + ("" if path == PATHS[0] else "_at_" + path.split("/api/")[1].replace("/", "_"))
    router.add_api_route(path, receive, methods=["POST"], name=name, openapi_extra=_OPENAPI)
