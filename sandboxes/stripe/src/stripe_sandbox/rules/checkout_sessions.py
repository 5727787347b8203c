"""Rules of new checkout sessions."""

from __future__ import annotations

import re

from stripe_sandbox.operation import Call
from stripe_sandbox.rules.rule import Rule, Values

_CREATE = ("POST /v1/checkout/sessions",)
_ONLY_IN = {
    "payment_intent_data": ("payment",),
    "invoice_creation": ("payment",),
    "subscription_data": ("subscription",),
    "setup_intent_data": ("setup",),
    "customer_creation": ("payment", "setup"),
    "payment_method_collection": ("subscription",),
}
_NOT_TOGETHER = [
    ("customer", "customer_email"),
    ("customer", "customer_creation"),
    ("discounts", "allow_promotion_codes"),
]
_HALF_HOUR, _DAY = 1_800, 86_400


def _mode(call: Call) -> Values | None:
    mode = call.params.get("mode")
    wrong = next((n for n, modes in _ONLY_IN.items() if n in call.params and mode not in modes), None)
    return {"param": wrong, "mode": mode} if wrong and mode else None


def _together(call: Call) -> Values | None:
    pairs = [pair for pair in _NOT_TOGETHER if pair[0] in call.params and call.params.get(pair[1])]
    return {"param": pairs[0][0], "other": pairs[0][1]} if pairs else None


def _several_discounts(call: Call) -> Values | None:
    return {} if len(call.params.get("discounts") or []) > 1 else None


def _success_url(call: Call) -> Values | None:
    mode = call.params.get("ui_mode", "hosted_page")
    return {"mode": mode} if mode != "hosted_page" and "success_url" in call.params else None


def _email(call: Call) -> Values | None:
    email = call.params.get("customer_email")
    good = email is None or re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s.]+", email)
    return None if good else {"email": email}


def _reference(call: Call) -> Values | None:
    return {} if len(call.params.get("client_reference_id", "")) > 200 else None


def _expiry(call: Call) -> Values | None:
    if "expires_at" not in call.params:
        return None
    ahead = call.params["expires_at"] - call.sandbox.clock.now_for(call.params.get("customer"))
    return None if _HALF_HOUR - 5 <= ahead <= _DAY + 5 else {}


def _trial(call: Call) -> Values | None:
    return {} if {"trial_end", "trial_period_days"} <= set(call.params.get("subscription_data") or {}) else None


TOTAL_TOO_SMALL = Rule(
    name="session_total_too_small",
    calls=_CREATE,
    message="The Checkout Session's total amount due must add up to at least {minimum}",
    code="amount_too_small",
    source="docs.stripe.com/error-codes#amount-too-small; the message as quoted by public code",
)

RULES = [
    TOTAL_TOO_SMALL,
    Rule(
        name="parameter_of_another_mode",
        calls=_CREATE,
        check=_mode,
        message="You can not pass `{param}` in `{mode}` mode.",
        source="SDK: docstrings of SessionCreateParams; the message as quoted by public code",
    ),
    Rule(
        name="parameters_that_exclude_each_other",
        calls=_CREATE,
        check=_together,
        message="You may only specify one of these parameters: {param}, {other}.",
        source="SDK: docstrings of SessionCreateParams; the message as quoted by public code",
    ),
    Rule(
        name="one_discount_per_session",
        calls=_CREATE,
        check=_several_discounts,
        message="Array discounts exceeded maximum 1 allowed elements.",
        param="discounts",
        source="SDK: SessionCreateParams.discounts, at most one; the message as quoted by public code",
    ),
    Rule(
        name="success_url_of_embedded_page",
        calls=_CREATE,
        check=_success_url,
        message="`success_url` is not allowed with ui_mode `{mode}`.",
        param="success_url",
        source="SDK: SessionCreateParams.success_url (message: believed)",
    ),
    Rule(
        name="invalid_customer_email",
        calls=_CREATE,
        check=_email,
        message="Invalid email address: {email}",
        code="email_invalid",
        param="customer_email",
        source="docs.stripe.com/error-codes#email-invalid",
    ),
    Rule(
        name="client_reference_length",
        calls=_CREATE,
        check=_reference,
        message="client_reference_id can be up to 200 characters long.",
        param="client_reference_id",
        source="docs.stripe.com/api/checkout/sessions/create: up to 200 characters (message: believed)",
    ),
    Rule(
        name="session_expiry",
        calls=_CREATE,
        check=_expiry,
        message=(
            "The `expires_at` timestamp must be at least 30 minutes and less than 24 hours from Checkout Session "
            "creation."
        ),
        param="expires_at",
        source="SDK: SessionCreateParams.expires_at, 30 minutes to 24 hours (message: believed)",
    ),
    Rule(
        name="two_trial_lengths",
        calls=_CREATE,
        check=_trial,
        message="You may only specify one of these parameters: trial_end, trial_period_days.",
        source="believed",
    ),
]
