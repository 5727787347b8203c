"""Rules of payment intents."""

from __future__ import annotations

from stripe_sandbox import amounts
from stripe_sandbox.flows import invoices, settlement
from stripe_sandbox.methods import REDIRECTING
from stripe_sandbox.operation import Call
from stripe_sandbox.rules.rule import Rule, Values
from stripe_sandbox.store import Obj

_CREATE, _UPDATE = "POST /v1/payment_intents", "POST /v1/payment_intents/{id}"
_CONFIRM, _CANCEL = "POST /v1/payment_intents/{id}/confirm", "POST /v1/payment_intents/{id}/cancel"


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


def _amount_too_small(call: Call) -> Values | None:
    currency = str(call.params.get("currency") or _intent(call).get("currency", "usd")).lower()
    minimum = amounts.minimum_charge(currency)
    amount = call.params.get("amount")
    return {"minimum": amounts.written(minimum, currency)} if amount is not None and amount < minimum else None


def _amount_too_large(call: Call) -> Values | None:
    currency = str(call.params.get("currency") or _intent(call).get("currency", "usd")).lower()
    largest = {"maximum": amounts.written(amounts.MAXIMUM_CHARGE, currency)}
    return largest if call.params.get("amount", 0) > amounts.MAXIMUM_CHARGE else None


def _needs_confirm(call: Call) -> Values | None:
    given = [name for name in ("off_session", "error_on_requires_action", "return_url") if call.params.get(name)]
    return {"param": given[0]} if given and not call.params.get("confirm") else None


def _of_invoice(call: Call) -> Values | None:
    intent = _intent(call)
    return {} if intent and invoices.invoice_of(call.sandbox, intent) is not None else None


def _changes_of_invoice(call: Call) -> Values | None:
    changed = sorted({"amount", "currency", "customer"} & set(call.params))
    return {"param": changed[0]} if changed and _of_invoice(call) is not None else None


def _of_session(call: Call) -> Values | None:
    session = settlement.session_of(call.sandbox, _intent(call)) if _intent(call) else None
    return {} if session is not None and session["status"] == "open" else None


def _not_cancelable(call: Call) -> Values | None:
    status = _intent(call).get("status")
    return {"status": status} if status in ("succeeded", "canceled", "processing") else None


RULES = [
    Rule(
        name="amount_too_small",
        calls=(_CREATE, _UPDATE),
        check=_amount_too_small,
        message="Amount must be at least {minimum}",
        code="amount_too_small",
        param="amount",
        source="docs.stripe.com/currencies#minimum-and-maximum-charge-amounts, docs.stripe.com/error-codes",
    ),
    Rule(
        name="amount_too_large",
        calls=(_CREATE, _UPDATE),
        check=_amount_too_large,
        message="Amount must be no more than {maximum}",
        code="amount_too_large",
        param="amount",
        source="SDK: PaymentIntentCreateParams.amount, up to eight digits; docs.stripe.com/error-codes",
    ),
    Rule(
        name="parameter_of_confirmation",
        calls=(_CREATE,),
        check=_needs_confirm,
        message="The parameter `{param}` cannot be passed when `confirm` is false.",
        source="SDK: PaymentIntentCreateParams, can only be used with confirm=true (message: believed)",
    ),
    Rule(
        name="cancel_in_final_state",
        calls=(_CANCEL,),
        check=_not_cancelable,
        message=(
            "You cannot cancel this PaymentIntent because it has a status of {status}. Only a PaymentIntent with one "
            "of the following statuses may be canceled: requires_payment_method, requires_capture, "
            "requires_confirmation, requires_action, processing."
        ),
        code="payment_intent_unexpected_state",
        source=(
            "github.com/exercism/website/issues/7062; a bank debit that is processing cannot be canceled either (SDK: "
            "PaymentIntent.cancel, processing only in rare cases)"
        ),
    ),
    Rule(
        name="cancel_intent_of_invoice",
        calls=(_CANCEL,),
        check=_of_invoice,
        message="You cannot cancel PaymentIntents created by invoices. Try voiding the invoice instead.",
        source="the message as quoted by public code",
    ),
    Rule(
        name="cancel_intent_of_session",
        calls=(_CANCEL,),
        check=_of_session,
        message="You cannot cancel the PaymentIntent for a Checkout Session. Expire the Checkout Session instead.",
        source="SDK: PaymentIntent.cancel (message: believed)",
    ),
    Rule(
        name="update_intent_of_invoice",
        calls=(_UPDATE,),
        check=_changes_of_invoice,
        message="You cannot update `{param}` on a PaymentIntent created by an invoice.",
        source="believed",
    ),
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
