"""Rules of calls with a publishable key: what Stripe.js may do in a browser."""

from __future__ import annotations

from stripe_sandbox.operation import Call
from stripe_sandbox.rules.rule import Rule, Values
from stripe_sandbox.store import Obj

_RETRIEVE, _CONFIRM = "GET /v1/payment_intents/{id}", "POST /v1/payment_intents/{id}/confirm"
_VERIFY = "POST /v1/payment_intents/{id}/verify_microdeposits"
_OF_INTENTS = (_RETRIEVE, _CONFIRM, _VERIFY)
BROWSER_CALLS = frozenset({"POST /v1/payment_methods", *_OF_INTENTS})
"""The calls of this sandbox that accept a publishable key."""
_CONFIRMATION = frozenset(
    {
        "confirmation_token",
        "mandate_data",
        "payment_method",
        "payment_method_data",
        "payment_method_options",
        "receipt_email",
        "return_url",
        "setup_future_usage",
        "shipping",
        "use_stripe_sdk",
    }
)
"""What Stripe.js sends with a confirmation."""


def _intent(call: Call) -> Obj | None:
    """The intent in the path of a call with a publishable key; None if there is none."""
    return call.sandbox.store.find(call.id) if call.publishable else None


def _secret_missing(call: Call) -> Values | None:
    return {} if call.publishable and not call.client_secret else None


def _secret_mismatch(call: Call) -> Values | None:
    intent = _intent(call)
    return {} if intent is not None and call.client_secret != intent.get("client_secret") else None


def _server_parameter(call: Call) -> Values | None:
    given = sorted(set(call.params) - _CONFIRMATION) if call.publishable else []
    return {"param": given[0]} if given else None


def _future_usage(call: Call) -> Values | None:
    current = (_intent(call) or {}).get("setup_future_usage")
    wanted = call.params.get("setup_future_usage", current)
    allowed = current is None or wanted == current or (current, wanted) == ("on_session", "off_session")
    return None if allowed else {"current": current}


SECRET_KEY_REQUIRED = Rule(
    name="secret_key_required",
    calls=("GET *", "POST *"),
    message=(
        "This API call cannot be made with a publishable API key. Please use a secret API key. You can find a list of "
        "your API keys at https://dashboard.stripe.com/account/apikeys."
    ),
    code="secret_key_required",
    status=401,
    source=(
        "github.com/mohammedhammoud/django-rest-framework-stripe/issues/3 (message and status), "
        "docs.stripe.com/error-codes#secret-key-required; which calls a publishable key may make: "
        "docs.stripe.com/keys, the methods of github.com/stripe/stripe-js"
    ),
)

RULES = [
    SECRET_KEY_REQUIRED,
    Rule(
        name="client_secret_missing",
        calls=_OF_INTENTS,
        check=_secret_missing,
        message="Missing required param: client_secret.",
        code="parameter_missing",
        param="client_secret",
        source=(
            "docs.stripe.com/api/payment_intents/retrieve: required with a publishable key; for confirmation "
            "github.com/stripe/stripe-dotnet/issues/1532 (message: believed)"
        ),
    ),
    Rule(
        name="client_secret_mismatch",
        calls=_OF_INTENTS,
        check=_secret_mismatch,
        message="The client_secret provided does not match the client_secret associated with the PaymentIntent.",
        code="payment_intent_invalid_parameter",
        param="client_secret",
        source=(
            "github.com/ezet/stripe-sdk: its test of retrieveSetupIntent has this error; the code is in the SDK's list "
            "(that this error has it: believed)"
        ),
    ),
    Rule(
        name="confirmation_parameter_of_secret_key",
        calls=(_CONFIRM,),
        check=_server_parameter,
        message="Received unknown parameter: {param}",
        code="parameter_unknown",
        source=(
            "github.com/stripe/stripe-js: types/api/payment-intents.d.ts has what a browser may send "
            "(PaymentIntentConfirmParams); off_session, capture_method, radar_options and others are not in it (error: "
            "believed)"
        ),
    ),
    Rule(
        name="future_usage_by_publishable_key",
        calls=(_CONFIRM,),
        check=_future_usage,
        message=(
            "You can only update `setup_future_usage` from `on_session` to `off_session` with a publishable key; it is "
            "`{current}`."
        ),
        param="setup_future_usage",
        source="SDK: PaymentIntentConfirmParams.setup_future_usage (message: believed)",
    ),
]
