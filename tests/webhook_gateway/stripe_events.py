"""Stripe events in their documented shapes, reduced to the fields that matter."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import time
from typing import Any

SECRET = "whsec_test_current"
STUDENT = "3f0c8a62-64f5-4d3f-8f6a-0f0f5a3b1c11"
SEED_METADATA = {"student_id": STUDENT, "program_id": "prog_1", "program_slug": "barber-apprenticeship"}
OUR_METADATA = {
    **SEED_METADATA,
    "purchase_id": "7d7f3c1e-5b0a-4a5e-9a43-3a54cf0d2a01",
    "program_name": "Barber Apprenticeship",
    "provider": "milady",
    "payer": "student",
}
BUNDLE_METADATA = {
    **OUR_METADATA,
    "program_slug": "career-starter",
    "program_kind": "bundle",
    "includes_1": '{"slug":"barber-apprenticeship","id":"prog_1","provider":"milady","kind":"program"}',
    "includes_2": '{"slug":"tool-kit","id":"prod_7","name":"Tool kit","kind":"product"}',
    "installment": "due_1",
    "installments": "4",
    "price": "489000",
    "price_currency": "usd",
    "tier": "gold",
}
_numbers = itertools.count(1)


def event(type: str, object: dict[str, Any], *, id: str | None = None, **data: Any) -> dict[str, Any]:
    return {
        "id": id or f"evt_test_{next(_numbers)}",
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": 1_790_000_000,
        "data": {"object": object, **data},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": type,
    }


def intent(**fields: Any) -> dict[str, Any]:
    return {
        "id": "pi_1",
        "object": "payment_intent",
        "amount": 489_000,
        "amount_received": 489_000,
        "currency": "usd",
        "customer": "cus_1",
        "latest_charge": "ch_1",
        "payment_method_types": ["card"],
        "metadata": SEED_METADATA,
        **fields,
    }


def session(**fields: Any) -> dict[str, Any]:
    return {
        "id": "cs_test_1",
        "object": "checkout.session",
        "mode": "payment",
        "amount_total": 489_000,
        "client_reference_id": None,
        "currency": "usd",
        "customer": "cus_1",
        "payment_intent": "pi_1",
        "invoice": None,
        "subscription": None,
        "payment_status": "paid",
        "payment_method_types": ["card", "us_bank_account"],
        "customer_details": {"email": "ann@example.com", "name": "Ann"},
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "metadata": SEED_METADATA,
        **fields,
    }


def invoice(**fields: Any) -> dict[str, Any]:
    return {
        "id": "in_1",
        "object": "invoice",
        "amount_due": 122_250,
        "amount_paid": 122_250,
        "attempt_count": 1,
        "collection_method": "charge_automatically",
        "currency": "usd",
        "customer": "cus_1",
        "customer_email": "ann@example.com",
        "ending_balance": 0,
        "hosted_invoice_url": None,
        "next_payment_attempt": None,
        "starting_balance": 0,
        "total_discount_amounts": [],
        "total_taxes": [],
        "parent": {
            "type": "subscription_details",
            "subscription_details": {"subscription": "sub_1", "metadata": {**SEED_METADATA, "installments": "4"}},
        },
        **fields,
    }


def invoice_payment(**fields: Any) -> dict[str, Any]:
    return {
        "id": "inpay_1",
        "object": "invoice_payment",
        "amount_paid": 122_250,
        "currency": "usd",
        "invoice": "in_1",
        "payment": {"type": "payment_intent", "payment_intent": "pi_9"},
        "status": "paid",
        **fields,
    }


def payments(*payments: dict[str, Any], has_more: bool = False) -> dict[str, Any]:
    """The `payments` of an invoice."""
    return {"object": "list", "data": list(payments), "has_more": has_more}


def schedule(**fields: Any) -> dict[str, Any]:
    return {
        "id": "sub_sched_1",
        "object": "subscription_schedule",
        "customer": "cus_1",
        "metadata": {},
        "phases": [{"start_date": 1_790_000_000, "metadata": {}}],
        "released_subscription": None,
        "status": "canceled",
        "subscription": "sub_1",
        **fields,
    }


def customer(**fields: Any) -> dict[str, Any]:
    return {"id": "cus_1", "object": "customer", "email": "ann@example.com", "metadata": {}, **fields}


def mandate(**fields: Any) -> dict[str, Any]:
    return {
        "id": "mandate_1",
        "object": "mandate",
        "payment_method": "pm_1",
        "status": "inactive",
        "type": "multi_use",
        **fields,
    }


def subscription(**fields: Any) -> dict[str, Any]:
    return {
        "id": "sub_1",
        "object": "subscription",
        "customer": "cus_1",
        "status": "active",
        "cancel_at_period_end": False,
        "pause_collection": None,
        "items": {"object": "list", "data": [{"id": "si_1", "current_period_end": 1_792_000_000}]},
        "metadata": SEED_METADATA,
        **fields,
    }


def charge(**fields: Any) -> dict[str, Any]:
    return {
        "id": "ch_1",
        "object": "charge",
        "amount": 489_000,
        "amount_captured": 489_000,
        "amount_refunded": 489_000,
        "captured": True,
        "currency": "usd",
        "customer": "cus_1",
        "payment_intent": "pi_1",
        "payment_method_details": {
            "type": "card",
            "card": {"brand": "visa", "last4": "4242", "wallet": {"type": "apple_pay", "apple_pay": {}}},
        },
        "metadata": {},
        **fields,
    }


def fraud_warning(**fields: Any) -> dict[str, Any]:
    return {
        "id": "issfr_1",
        "object": "radar.early_fraud_warning",
        "actionable": True,
        "charge": "ch_1",
        "fraud_type": "made_with_stolen_card",
        "payment_intent": "pi_1",
        **fields,
    }


def refund(**fields: Any) -> dict[str, Any]:
    return {
        "id": "re_1",
        "object": "refund",
        "amount": 489_000,
        "charge": "ch_1",
        "currency": "usd",
        "payment_intent": "pi_1",
        "status": "pending",
        "metadata": {},
        **fields,
    }


def dispute(**fields: Any) -> dict[str, Any]:
    return {
        "id": "du_1",
        "object": "dispute",
        "amount": 489_000,
        "charge": "ch_1",
        "currency": "usd",
        "payment_intent": "pi_1",
        "reason": "fraudulent",
        "status": "needs_response",
        "evidence_details": {"due_by": 1_791_000_000},
        "metadata": {},
        **fields,
    }


def body_of(event: object) -> bytes:
    return json.dumps(event).encode()


def sign(body: bytes, *, secret: str = SECRET, at: float | None = None) -> str:
    """The Stripe-Signature header for this body."""
    timestamp = int(time.time() if at is None else at)
    signature = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={signature}"
