"""Payment intents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast
from uuid import uuid4

import stripe

from checkout.stripe_client.request import StripeCalls, StripeRejected
from contracts.money import Money


@dataclass(frozen=True, kw_only=True)
class Intent:
    """`status` is Stripe's; `failure_code` is that of the last attempt, if it failed."""

    id: str
    status: str
    client_secret: str | None
    amount: Money
    received: Money
    failure_code: str | None


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

    async def charge_off_session(self, id: str, *, method_id: str, key: str) -> Intent:
        """Charges the saved method without the payer being present, and returns the intent.

        A decline is not an error: the intent can be confirmed again, and `failure_code` says why. An intent that cannot
        be confirmed is returned unchanged. Raises StripeRejected if the request itself is wrong.
        """
        try:
            async with self._call("charge_off_session"):
                try:
                    intents = self._api.v1.payment_intents
                    return intent_of(
                        await intents.confirm_async(
                            id, {"payment_method": method_id, "off_session": True}, {"idempotency_key": key}
                        )
                    )
                except stripe.CardError:
                    return intent_of(await self._api.v1.payment_intents.retrieve_async(id))
        except StripeRejected as refused:
            if refused.code != "payment_intent_unexpected_state":
                raise
            return await self.intent(id)

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
    error = intent.last_payment_error
    return Intent(
        id=intent.id,
        status=intent.status,
        client_secret=intent.client_secret,
        amount=Money(amount=intent.amount, currency=intent.currency),
        received=Money(amount=intent.amount_received or 0, currency=intent.currency),
        failure_code=(getattr(error, "decline_code", None) or getattr(error, "code", None)) if error else None,
    )
