"""payment_intent.*"""

from __future__ import annotations

from contracts.payments import (
    PaymentActionRequired,
    PaymentEvent,
    PaymentFailed,
    PaymentPending,
    PaymentRefs,
    PaymentSucceeded,
)
from webhook_gateway.fields import JsonObject, money_at, object_at, object_id, text, url
from webhook_gateway.purchase import PurchaseFields, purchase_fields, received_fields
from webhook_gateway.translators.payment_methods import only_method


def _refs(intent: JsonObject) -> PaymentRefs:
    return PaymentRefs(
        payment_intent=object_id(intent, "id"),
        charge=object_id(intent, "latest_charge"),
        invoice=object_id(intent, "invoice") or _invoice_of(intent),  # the first: older API versions
        customer=object_id(intent, "customer"),
    )


def _invoice_of(intent: JsonObject) -> str | None:
    """Stripe names the invoice in `payment_details.order_reference` of the intent that it makes for it, as recorded
    events show: github.com/woocommerce/woocommerce-gateway-stripe (tests), github.com/zulip/zulip (stripe_fixtures)."""
    reference = object_id(intent, "payment_details", "order_reference")
    return reference if reference is not None and reference.startswith("in_") else None


def _purchase(intent: JsonObject) -> PurchaseFields | None:
    """The intent of an invoice has no metadata, and belongs to the invoice's purchase."""
    refs = _refs(intent)
    return purchase_fields(intent, refs) or ({"refs": refs} if refs.invoice else None)


def succeeded(intent: JsonObject, _: JsonObject) -> PaymentEvent | None:
    amount = money_at(intent, "amount_received") or money_at(intent, "amount")
    purchase = received_fields(intent, _refs(intent), amount)
    if purchase is None or amount is None:
        return None
    return PaymentSucceeded(**purchase, amount=amount, method=only_method(intent))


def failed(intent: JsonObject, _: JsonObject) -> PaymentEvent | None:
    purchase = _purchase(intent)
    if purchase is None:
        return None
    return PaymentFailed(**purchase, amount=money_at(intent, "amount"), code=decline_code(intent) or "unknown")


def decline_code(intent: JsonObject) -> str | None:
    """Why the last attempt failed; the bank's own reason if Stripe has one."""
    error = object_at(intent, "last_payment_error")
    return text(error, "decline_code", limit=100) or text(error, "code", limit=100)


def processing(intent: JsonObject, _: JsonObject) -> PaymentEvent | None:
    purchase = _purchase(intent)
    if purchase is None:
        return None
    return PaymentPending(**purchase, amount=money_at(intent, "amount"), method=only_method(intent))


def canceled(intent: JsonObject, _: JsonObject) -> PaymentEvent | None:
    purchase = purchase_fields(intent, _refs(intent))
    if purchase is None:
        return None
    return PaymentFailed(**purchase, amount=money_at(intent, "amount"), code="canceled", final=True)


def requires_action(intent: JsonObject, _: JsonObject) -> PaymentEvent | None:
    """Stripe SDK 16.1, PaymentIntent.NextAction: `type` names the object with the details of that type."""
    purchase = _purchase(intent)
    if purchase is None:
        return None
    amount, action = money_at(intent, "amount"), object_at(intent, "next_action")
    match kind := text(action, "type", limit=100):
        case "verify_with_microdeposits":
            page = url(action, kind, "hosted_verification_url")
            return PaymentActionRequired(**purchase, amount=amount, action="verify_bank_account", url=page)
        case "use_stripe_sdk" | "redirect_to_url":
            page = url(action, "redirect_to_url", "url")
            return PaymentActionRequired(**purchase, amount=amount, action="authenticate", url=page)
        case None:
            return PaymentActionRequired(**purchase, amount=amount)
        case _:
            page = url(action, kind, "hosted_instructions_url") or url(action, kind, "hosted_voucher_url")
            return PaymentActionRequired(**purchase, amount=amount, url=page)
