"""What a publishable key is shown of an object.

Source: docs.stripe.com/api/payment_intents/retrieve ("it only returns a subset of properties"); the properties are
those of PaymentIntent in github.com/stripe/stripe-js, types/api/payment-intents.d.ts.
"""

from __future__ import annotations

from typing import Any

from stripe_sandbox.store import Obj

_OF_INTENTS = frozenset(
    {
        "amount",
        "canceled_at",
        "cancellation_reason",
        "capture_method",
        "client_secret",
        "confirmation_method",
        "created",
        "currency",
        "description",
        "id",
        "last_payment_error",
        "livemode",
        "next_action",
        "object",
        "payment_method",
        "payment_method_types",
        "receipt_email",
        "setup_future_usage",
        "shipping",
        "status",
    }
)


def visible(obj: Obj) -> Obj:
    if obj["object"] != "payment_intent":
        return obj
    return {name: value for name, value in obj.items() if name in _OF_INTENTS}


def error(body: dict[str, Any]) -> dict[str, Any]:
    """An error's body. (Any: as of `StripeError.body`.)"""
    found = body["error"]
    if "payment_intent" not in found:
        return body
    return {"error": {**found, "payment_intent": visible(found["payment_intent"])}}
