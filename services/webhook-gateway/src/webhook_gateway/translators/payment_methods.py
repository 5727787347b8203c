"""How it was paid."""

from __future__ import annotations

from contracts.payments import PaymentMethodDetails
from webhook_gateway.fields import JsonObject, object_at, text


def only_method(thing: JsonObject) -> str | None:
    """The payment method of a session or intent, if only one was possible."""
    methods = thing.get("payment_method_types")
    return text(methods[0], limit=50) if isinstance(methods, list) and len(methods) == 1 else None


def method_details(charge: JsonObject) -> PaymentMethodDetails | None:
    """Stripe SDK 16.1, Charge.PaymentMethodDetails: `type` names the object with the details of that type."""
    method = text(charge, "payment_method_details", "type", limit=50)
    if method is None:
        return None
    details = object_at(charge, "payment_method_details", method)
    last4 = text(details, "last4")
    return PaymentMethodDetails(
        type=method,
        brand=text(details, "brand", limit=50),
        last4=last4 if last4 and len(last4) <= 4 else None,
        bank=text(details, "bank_name", limit=100) or text(details, "bank", limit=100),
        wallet=text(details, "wallet", "type", limit=50),
    )
