"""Rules of payment intents."""

from __future__ import annotations

from stripe_sandbox.methods import REDIRECTING
from stripe_sandbox.operation import Call
from stripe_sandbox.rules.rule import Rule, Values
from stripe_sandbox.store import Obj

_CREATE, _CONFIRM = "POST /v1/payment_intents", "POST /v1/payment_intents/{id}/confirm"


def _intent(call: Call) -> Obj:
    """The intent in the path; empty for a new one, or if there is none."""
    return (call.sandbox.store.find(call.id) or {}) if "id" in call.path else {}


def _confirms(call: Call) -> bool:
    return "id" in call.path or bool(call.params.get("confirm"))


def _off_session_and_future_usage(call: Call) -> Values | None:
    usage = call.params.get("setup_future_usage", _intent(call).get("setup_future_usage"))
    return {} if _confirms(call) and call.params.get("off_session") and usage else None


def _return_url_missing(call: Call) -> Values | None:
    if not _confirms(call) or "return_url" in call.params:
        return None
    if _intent(call).get("status") in ("succeeded", "canceled", "processing"):
        return None  # not confirmable at all
    if "id" in call.path:
        automatic = _intent(call).get("automatic_payment_methods") or {"enabled": False}
        methods = _intent(call).get("payment_method_types", [])
    else:
        automatic = call.params.get("automatic_payment_methods", {"enabled": True})
        methods = call.params.get("allowed_payment_method_types", list(REDIRECTING))
    redirects = automatic["enabled"] and automatic.get("allow_redirects", "always") == "always"
    return {} if redirects and REDIRECTING & set(methods) else None


RULES = [
    Rule(
        name="off_session_with_setup_future_usage",
        calls=(_CREATE, _CONFIRM),
        check=_off_session_and_future_usage,
        message=(
            "You cannot confirm with `off_session=true` when `setup_future_usage` is also set on the PaymentIntent. "
            "The customer needs to be on-session to perform the steps which may be required to set up the "
            "PaymentMethod for future usage."
        ),
        param="off_session",
        source=(
            "github.com/artsy/exchange/pull/484, github.com/tastyigniter/ti-ext-payregister/pull/38 (param: believed)"
        ),
    ),
    Rule(
        name="return_url_missing",
        calls=(_CREATE, _CONFIRM),
        check=_return_url_missing,
        message=(
            "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some of "
            "these payment methods might redirect your customer off of your page, you must provide a `return_url`. If "
            "you don't want to accept redirect-based payment methods, set `automatic_payment_methods[enabled]` to "
            "`true` and `automatic_payment_methods[allow_redirects]` to `never` when creating Setup Intents and "
            "Payment Intents."
        ),
        source=(
            "github.com/opencollective/opencollective-frontend/pull/12346, "
            "github.com/aschmelyun/laravel-vue-stripe-cashier/issues/4; Stripe's guide for charging a saved method off "
            "session passes one too (that off_session does not exempt: believed)"
        ),
    ),
]
