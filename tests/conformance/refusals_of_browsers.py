"""Calls with a publishable key, as Stripe.js makes them: what Stripe refuses, and what it answers."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import stripe
from tests.conformance.account import RETURN_URL, Account
from tests.conformance.case import Case, Refused

_CARD = {"payment_method": "pm_card_visa", "return_url": RETURN_URL}


def _confirmed(a: Account, *, secret: str | None = None, intent: Any = None, **params: Any) -> Any:
    intent = intent or a.intent()
    sent = {"client_secret": intent.client_secret if secret is None else secret, **_CARD, **params}
    return a.browser.payment_intents.confirm(intent.id, sent)


def _without_secret(a: Account) -> Any:
    return a.browser.payment_intents.confirm(a.intent().id, _CARD)


def _secret_of_another(a: Account) -> Any:
    return _confirmed(a, secret=a.intent().client_secret)


def _retrieved(a: Account) -> Any:
    intent = a.intent(metadata={"purchase": "p1"})
    return a.browser.payment_intents.retrieve(intent.id, {"client_secret": intent.client_secret})


def _future_usage(a: Account) -> Any:
    return _confirmed(a, intent=a.intent(setup_future_usage="off_session"), setup_future_usage="on_session")


def _after_a_decline(a: Account) -> Any:
    intent = a.intent()
    with suppress(stripe.CardError):
        _confirmed(a, intent=intent, payment_method="pm_card_chargeDeclined")
    return a.browser.payment_intents.retrieve(intent.id, {"client_secret": intent.client_secret})


def _refused_confirmation(**params: Any) -> Any:
    return lambda a: _confirmed(a, **params)


_KEY = Refused(status=401, code="secret_key_required", mentions=("publishable API key",))
_MISSING = Refused(code="parameter_missing", param="client_secret")
_MISMATCH = Refused(
    code="payment_intent_invalid_parameter", param="client_secret", mentions=("client_secret provided does not match",)
)

REFUSALS_OF_BROWSERS = [
    Case(
        name="create_intent_by_publishable_key",
        rule="secret_key_required",
        call=lambda a: a.browser.payment_intents.create({"amount": 5_000, "currency": "usd"}),
        expect=_KEY,
        browser=True,
    ),
    Case(
        name="refund_by_publishable_key",
        rule="secret_key_required",
        call=lambda a: a.browser.refunds.create({"payment_intent": a.charge().id}),
        expect=_KEY,
        browser=True,
    ),
    Case(
        name="list_customers_by_publishable_key",
        rule="secret_key_required",
        call=lambda a: a.browser.customers.list(),
        expect=_KEY,
        browser=True,
    ),
    Case(
        name="change_amount_by_publishable_key",
        rule="secret_key_required",
        call=lambda a: a.browser.payment_intents.update(a.intent().id, {"amount": 50}),
        expect=_KEY,
        browser=True,
    ),
    Case(
        name="confirm_without_client_secret",
        rule="client_secret_missing",
        call=_without_secret,
        expect=_MISSING,
        browser=True,
    ),
    Case(
        name="retrieve_without_client_secret",
        rule="client_secret_missing",
        call=lambda a: a.browser.payment_intents.retrieve(a.intent().id),
        expect=_MISSING,
        browser=True,
    ),
    Case(
        name="confirm_with_the_secret_of_another_intent",
        rule="client_secret_mismatch",
        call=_secret_of_another,
        expect=_MISMATCH,
        browser=True,
    ),
    Case(
        name="retrieve_with_the_secret_of_another_intent",
        rule="client_secret_mismatch",
        call=lambda a: a.browser.payment_intents.retrieve(a.intent().id, {"client_secret": a.intent().client_secret}),
        expect=_MISMATCH,
        browser=True,
    ),
    Case(
        name="confirm_off_session_by_publishable_key",
        rule="confirmation_parameter_of_secret_key",
        call=_refused_confirmation(off_session=True),
        expect=Refused(code="parameter_unknown", param="off_session", mentions=("off_session",)),
        browser=True,
    ),
    Case(
        name="confirm_another_amount_by_publishable_key",
        call=_refused_confirmation(amount=50),
        expect=Refused(code="parameter_unknown", param="amount", mentions=("amount",)),
        browser=True,
    ),
    Case(
        name="confirm_other_future_usage_by_publishable_key",
        rule="future_usage_by_publishable_key",
        call=_future_usage,
        expect=Refused(param="setup_future_usage", mentions=("setup_future_usage",)),
        browser=True,
    ),
    Case(
        name="confirm_declined_card_by_publishable_key",
        call=_refused_confirmation(payment_method="pm_card_chargeDeclined"),
        expect=Refused(status=402, type="card_error", code="card_declined", decline_code="generic_decline"),
        browser=True,
    ),
]

ANSWERS_TO_BROWSERS = [
    Case(
        name="confirm_by_publishable_key",
        call=_confirmed,
        expect={"status": "succeeded", "amount": 5_000},
        browser=True,
    ),
    Case(
        name="retrieve_by_publishable_key",
        call=lambda a: {"hidden": {"metadata", "customer", "latest_charge"} & set(_retrieved(a).to_dict())},
        expect={"hidden": set()},
        browser=True,
    ),
    Case(
        name="retrieve_after_a_decline_by_publishable_key",
        call=_after_a_decline,
        expect={"status": "requires_payment_method", "last_payment_error.code": "card_declined"},
        browser=True,
    ),
]
