"""Payment intents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args
from uuid import uuid4

import stripe

from checkout.stripe_client.request import StripeCalls, StripeRejected
from contracts.money import Money

IntentStatus = Literal[
    "requires_payment_method",
    "requires_confirmation",
    "requires_action",
    "processing",
    "requires_capture",
    "canceled",
    "succeeded",
]


@dataclass(frozen=True, kw_only=True)
class Intent:
    """`status` and `action` (what the payer has to do next) are Stripe's. The others are of the last attempt, if it
    failed: its code, what the issuer says about another attempt, and the type of the payment method."""

    id: str
    status: IntentStatus
    client_secret: str | None
    amount: Money
    received: Money
    action: str | None
    failure_code: str | None
    failure_advice: str | None
    failed_method: str | None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """`code`: the issuer's decline code, else Stripe's error code."""

    code: str | None
    advice: str | None
    method: str | None


class IntentCalls(StripeCalls):
    async def create_intent(self, params: Mapping[str, object], *, key: str) -> Intent:
        async with self._call("create_intent"):
            intents = self._api.v1.payment_intents
            return intent_of(
                await intents.create_async(
                    cast(stripe.params.PaymentIntentCreateParams, params), {"idempotency_key": key}
                )
            )

    async def intent(self, id: str) -> Intent:
        async with self._call("intent"):
            return intent_of(await self._api.v1.payment_intents.retrieve_async(id))

    async def cancel_intent(self, id: str, *, key: str) -> Intent:
        """Cancels the intent if possible, and returns it: canceled, succeeded or processing.

        Stripe replays a rejection under its idempotency key, so each call has a key of its own.
        """
        try:
            async with self._call("cancel_intent"):
                intents = self._api.v1.payment_intents
                return intent_of(await intents.cancel_async(id, None, {"idempotency_key": f"{key}/{uuid4()}"}))
        except StripeRejected:
            return await self.intent(id)


def intent_of(intent: stripe.PaymentIntent) -> Intent:
    failed = failure_of(intent.last_payment_error)
    return Intent(
        id=intent.id,
        status=_status_of(intent),
        client_secret=intent.client_secret,
        amount=Money(amount=intent.amount, currency=intent.currency),
        received=Money(amount=intent.amount_received or 0, currency=intent.currency),
        action=intent.next_action.type if intent.next_action else None,
        failure_code=failed.code,
        failure_advice=failed.advice,
        failed_method=failed.method,
    )


def _status_of(intent: stripe.PaymentIntent) -> IntentStatus:
    """A status that a later version of Stripe's API adds counts as processing: neither charged again nor canceled."""
    return cast(IntentStatus, intent.status) if intent.status in get_args(IntentStatus) else "processing"


def failure_of(error: object) -> Failure:
    """Of a card error, or of an intent's last payment error."""
    method = getattr(error, "payment_method", None)
    return Failure(
        code=getattr(error, "decline_code", None) or getattr(error, "code", None),
        advice=getattr(error, "advice_code", None),
        method=getattr(method, "type", None),
    )
