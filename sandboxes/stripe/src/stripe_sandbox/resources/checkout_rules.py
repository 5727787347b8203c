"""Validation of parameter combinations of a new checkout session."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from stripe_sandbox.errors import StripeError, missing_param
from stripe_sandbox.params import Params
from stripe_sandbox.state import Sandbox

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


def check(sandbox: Sandbox, params: Params) -> None:
    """Raises Stripe's error for the first violated rule."""
    if "mode" not in params:
        raise missing_param("mode")
    mode = params["mode"]
    for name, modes in _ONLY_IN.items():
        if name in params and mode not in modes:
            raise StripeError(f"You can not pass `{name}` in `{mode}` mode.", param=name)
    for one, other in _NOT_TOGETHER:
        if one in params and params.get(other):
            raise StripeError(f"You may only specify one of these parameters: {one}, {other}.", param=one)
    if mode != "setup" and not params.get("line_items"):
        raise missing_param("line_items")
    if len(params.get("discounts") or []) > 1:
        raise StripeError("You can only specify one discount.", param="discounts")
    if (params.get("payment_intent_data") or {}).get("capture_method") == "manual":
        raise StripeError("The sandbox does not support manual capture.", param="payment_intent_data[capture_method]")
    _check_urls(params)
    _check_customer(sandbox, params)
    _check_expiry(sandbox, params)
    _check_trial(params)


def _check_urls(params: Params) -> None:
    if params.get("ui_mode", "hosted_page") != "hosted_page":
        if "success_url" in params:
            raise StripeError(f"`success_url` is not allowed with ui_mode `{params['ui_mode']}`.", param="success_url")
        return
    if "success_url" not in params:
        raise missing_param("success_url")
    for name in ("success_url", "cancel_url"):
        if name in params:
            check_url(params[name], name)


def check_url(url: str, param: str) -> None:
    """Raises url_invalid unless `url` is an absolute http(s) URL."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise StripeError(
            "Not a valid URL. URLs must begin with http:// or https:// and name a host.",
            code="url_invalid",
            param=param,
        )


def _check_customer(sandbox: Sandbox, params: Params) -> None:
    if "customer" in params:
        sandbox.store.param("customer", params["customer"], "customer")
    email = params.get("customer_email")
    if email is not None and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s.]+", email):
        raise StripeError(f"Invalid email address: {email}", code="email_invalid", param="customer_email")
    if len(params.get("client_reference_id", "")) > 200:
        raise StripeError("client_reference_id can be up to 200 characters long.", param="client_reference_id")


def _check_expiry(sandbox: Sandbox, params: Params) -> None:
    if "expires_at" not in params:
        return
    ahead = params["expires_at"] - sandbox.clock.now_for(params.get("customer"))
    if not _HALF_HOUR - 5 <= ahead <= _DAY + 5:
        raise StripeError(
            "The `expires_at` timestamp must be at least 30 minutes and less than 24 hours from Checkout Session "
            "creation.",
            param="expires_at",
        )


def _check_trial(params: Params) -> None:
    data = params.get("subscription_data") or {}
    if "trial_end" in data and "trial_period_days" in data:
        raise StripeError("You may only specify one of these parameters: trial_end, trial_period_days.")
