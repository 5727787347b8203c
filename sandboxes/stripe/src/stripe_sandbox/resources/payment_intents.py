"""/v1/payment_intents"""

from __future__ import annotations

import stripe.params as p

from stripe_sandbox.errors import StripeError, missing_param
from stripe_sandbox.flows import payment_methods, payments, settlement
from stripe_sandbox.flows.prices import check_currency
from stripe_sandbox.instruments import bank_account, wallet
from stripe_sandbox.methods import REDIRECTING, eligible
from stripe_sandbox.operation import Call, Operation, retrieve
from stripe_sandbox.paging import matching, page
from stripe_sandbox.params import Params, merge_metadata
from stripe_sandbox.state import Sandbox, copy_of
from stripe_sandbox.store import Obj

_TEXT = ("description", "receipt_email", "setup_future_usage", "statement_descriptor", "statement_descriptor_suffix")
_CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")


def create(call: Call) -> Obj:
    params, sandbox = call.params, call.sandbox
    currency = check_currency(params["currency"])
    if params.get("capture_method", "automatic") == "manual":
        raise StripeError("The sandbox does not support manual capture.", param="capture_method")
    if "customer" in params:
        sandbox.store.param("customer", params["customer"], "customer")
    redirects = _automatic(params)["allow_redirects"] == "always"
    methods = eligible(
        params["amount"],
        currency,
        "payment",
        allowed=params.get("allowed_payment_method_types"),
        excluded=[*params.get("excluded_payment_method_types", []), *([] if redirects else REDIRECTING)],
        saved=bool(params.get("setup_future_usage")),
    )
    if not methods:
        raise StripeError(
            "No valid payment method types for this Payment Intent.", param="allowed_payment_method_types"
        )
    intent = payments.create_intent(
        sandbox,
        amount=params["amount"],
        currency=currency,
        customer=params.get("customer"),
        metadata=merge_metadata({}, params.get("metadata")),
        payment_method_types=methods,
        automatic_payment_methods=_automatic(params),
        allowed_payment_method_types=params.get("allowed_payment_method_types"),
        excluded_payment_method_types=params.get("excluded_payment_method_types"),
        shipping=params.get("shipping"),
        **{name: params[name] for name in _TEXT if name in params},
    )
    if (method := _given_method(sandbox, params)) is not None:
        intent.update(payment_method=method["id"], status="requires_confirmation")
    if params.get("confirm"):
        _confirm(call, intent)
    return intent


def update(call: Call) -> Obj:
    intent = call.sandbox.store.get("payment_intent", call.id)
    if intent["status"] in ("succeeded", "canceled", "processing") and set(call.params) - {"metadata", "description"}:
        raise _unexpected_state(intent, "updated")
    intent.update({name: call.params[name] or None for name in (*_TEXT, "amount", "customer") if name in call.params})
    if "metadata" in call.params:
        intent["metadata"] = merge_metadata(intent["metadata"], call.params["metadata"])
    if (method := _given_method(call.sandbox, call.params)) is not None:
        intent.update(payment_method=method["id"], status="requires_confirmation")
    return intent


def confirm(call: Call) -> Obj:
    intent = call.sandbox.store.get("payment_intent", call.id)
    if (method := _given_method(call.sandbox, call.params)) is not None:
        intent["payment_method"] = method["id"]
    if "setup_future_usage" in call.params:
        intent["setup_future_usage"] = call.params["setup_future_usage"] or None
    _confirm(call, intent)
    return intent


def verify_microdeposits(call: Call) -> Obj:
    """Stripe's test amounts (32 and 45) or descriptor code (SM11AA) verify the account; anything else fails."""
    intent = call.sandbox.store.get("payment_intent", call.id)
    if (intent["next_action"] or {}).get("type") != "verify_with_microdeposits":
        raise _unexpected_state(intent, "verified")
    given = (call.params.get("amounts"), call.params.get("descriptor_code"))
    settlement.authenticated(call.sandbox, intent, passed=given in (([32, 45], None), (None, "SM11AA")))
    return intent


def cancel(call: Call) -> Obj:
    intent = call.sandbox.store.get("payment_intent", call.id)
    payments.cancel(call.sandbox, intent, call.params.get("cancellation_reason"))
    return intent


def list_all(call: Call) -> Obj:
    return page(
        call, matching(call.sandbox.store.all("payment_intent"), call.params, "customer"), "/v1/payment_intents"
    )


def _confirm(call: Call, intent: Obj) -> None:
    """Attempts payment. A decline raises a 402 with the intent; required 3-D Secure is not an error."""
    if intent["status"] not in _CONFIRMABLE:
        raise _unexpected_state(intent, "confirmed")
    if intent["payment_method"] is None:
        raise StripeError(
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the "
            "PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a "
            "payment method.",
            code="payment_intent_unexpected_state",
        )
    method = call.sandbox.store.get("payment_method", intent["payment_method"])
    if method["type"] not in intent["payment_method_types"]:
        raise StripeError(
            f"The PaymentMethod provided ({method['type']}) is not allowed for this PaymentIntent.",
            code="payment_method_invalid_parameter",
            param="payment_method",
        )
    payment_methods.require_not_detached(call.sandbox, method)
    if method["customer"] is not None:
        payment_methods.require_owner(method, intent["customer"])
    on_session = not call.params.get("off_session")
    settlement.attempt(call.sandbox, intent, method, on_session=on_session, return_url=call.params.get("return_url"))
    error = intent["last_payment_error"]
    if error is not None:
        raise payments.attempt_error(error, payment_intent=copy_of(intent), payment_method=copy_of(method))


def _automatic(params: Params) -> Obj:
    """`automatic_payment_methods`, which is enabled by default and then allows redirects."""
    return {"allow_redirects": "always", "enabled": True, **params.get("automatic_payment_methods", {})}


def _given_method(sandbox: Sandbox, params: Params) -> Obj | None:
    if "payment_method" in params:
        return payment_methods.resolve(sandbox, params["payment_method"])
    if "payment_method_data" not in params:
        return None
    data = params["payment_method_data"]
    kind = data.get("type")
    if kind is None:
        raise missing_param("payment_method_data[type]")
    instrument = bank_account() if kind == "us_bank_account" else wallet(kind, authorized=True)
    if kind == "card":
        raise StripeError(
            "Sending credit card numbers directly to the Stripe API is generally unsafe. Use a test payment method "
            "such as pm_card_visa.",
            param="payment_method_data",
        )
    given = data.get("billing_details") or {}
    billing = payment_methods.billing_details(given.get("email"), given.get("name"), given.get("phone"))
    return payment_methods.create(sandbox, instrument, billing)


def _unexpected_state(intent: Obj, verb: str) -> StripeError:
    return StripeError(
        f"This PaymentIntent's status is {intent['status']}, so it cannot be {verb}.",
        code="payment_intent_unexpected_state",
        payment_intent=copy_of(intent),
    )


OPERATIONS = [
    Operation("POST", "/v1/payment_intents", p.PaymentIntentCreateParams, create),
    Operation("GET", "/v1/payment_intents", p.PaymentIntentListParams, list_all),
    Operation("GET", "/v1/payment_intents/{id}", p.PaymentIntentRetrieveParams, retrieve("payment_intent")),
    Operation("POST", "/v1/payment_intents/{id}", p.PaymentIntentUpdateParams, update),
    Operation("POST", "/v1/payment_intents/{id}/confirm", p.PaymentIntentConfirmParams, confirm),
    Operation(
        "POST",
        "/v1/payment_intents/{id}/verify_microdeposits",
        p.PaymentIntentVerifyMicrodepositsParams,
        verify_microdeposits,
    ),
    Operation("POST", "/v1/payment_intents/{id}/cancel", p.PaymentIntentCancelParams, cancel),
]
