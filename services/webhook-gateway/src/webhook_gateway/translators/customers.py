"""customer.deleted and mandate.updated"""

from __future__ import annotations

from contracts.payments import CustomerDeleted, MandateRevoked
from webhook_gateway.fields import JsonObject, object_id, text


def deleted(customer: JsonObject, _: JsonObject) -> CustomerDeleted | None:
    customer_id = object_id(customer, "id")
    return None if customer_id is None else CustomerDeleted(customer=customer_id)


def mandate_updated(mandate: JsonObject, _: JsonObject) -> MandateRevoked | None:
    """Stripe SDK 16.1, Mandate.status: "whether or not you can use it to initiate a payment"."""
    mandate_id, method = object_id(mandate, "id"), object_id(mandate, "payment_method")
    if mandate_id is None or method is None or text(mandate, "status") != "inactive":
        return None
    return MandateRevoked(mandate=mandate_id, payment_method=method)
