"""checkout.session.*"""

from __future__ import annotations

from contracts.money import Money
from contracts.payments import (
    PaymentEvent,
    PaymentExpired,
    PaymentFailed,
    PaymentPending,
    PaymentRefs,
    PaymentSucceeded,
)
from webhook_gateway.fields import JsonObject, integer, money, money_at, object_id, portion
from webhook_gateway.purchase import purchase_fields, received_fields
from webhook_gateway.translators.payment_methods import only_method


def _refs(session: JsonObject) -> PaymentRefs:
    return PaymentRefs(
        checkout_session=object_id(session, "id"),
        payment_intent=object_id(session, "payment_intent"),
        invoice=object_id(session, "invoice"),
        subscription=object_id(session, "subscription"),
        customer=object_id(session, "customer"),
    )


def completed(session: JsonObject, _: JsonObject) -> PaymentEvent | None:
    amount = money_at(session, "amount_total")
    if amount is None or session.get("mode") == "setup":
        return None
    if session.get("payment_status") in ("paid", "no_payment_required"):
        return _succeeded(session, amount)
    purchase = purchase_fields(session, _refs(session))
    return None if purchase is None else PaymentPending(**purchase, amount=amount, method=only_method(session))


def async_payment_succeeded(session: JsonObject, _: JsonObject) -> PaymentEvent | None:
    amount = money_at(session, "amount_total")
    return None if amount is None else _succeeded(session, amount)


def _succeeded(session: JsonObject, amount: Money) -> PaymentEvent | None:
    purchase = received_fields(session, _refs(session), amount)
    if purchase is None:
        return None
    return PaymentSucceeded(
        **purchase,
        amount=amount,
        method=only_method(session),
        tax=portion(amount, integer(session, "total_details", "amount_tax")),
        discount=money(integer(session, "total_details", "amount_discount") or None, amount.currency),
    )


def async_payment_failed(session: JsonObject, _: JsonObject) -> PaymentEvent | None:
    purchase = purchase_fields(session, _refs(session))
    if purchase is None:
        return None
    return PaymentFailed(**purchase, amount=money_at(session, "amount_total"), code="async_payment_failed", final=True)


def expired(session: JsonObject, _: JsonObject) -> PaymentEvent | None:
    purchase = purchase_fields(session, _refs(session))
    return None if purchase is None else PaymentExpired(**purchase)
