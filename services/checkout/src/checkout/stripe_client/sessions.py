"""Checkout sessions: pages that Stripe hosts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, cast
from uuid import uuid4

import stripe
from stripe.params.checkout import SessionCreateParams

from checkout.stripe_client.request import StripeCalls, StripeRejected, id_of, time_of
from contracts.money import Money


@dataclass(frozen=True, kw_only=True)
class Session:
    id: str
    status: Literal["open", "complete", "expired"]
    url: str | None
    expires_at: datetime
    paid: bool = False
    intent_id: str | None = None


class SessionCalls(StripeCalls):
    async def create_session(self, params: Mapping[str, object], *, key: str) -> Session:
        async with self._call("create_session"):
            sessions = self._api.v1.checkout.sessions
            return _session(await sessions.create_async(cast(SessionCreateParams, params), {"idempotency_key": key}))

    async def session(self, id: str) -> Session:
        async with self._call("session"):
            return _session(await self._api.v1.checkout.sessions.retrieve_async(id))

    async def expire_session(self, id: str, *, key: str) -> Session:
        """Expires the session if it is open, and returns it: expired or complete.

        Stripe replays a rejection under its idempotency key, so each call has a key of its own.
        """
        try:
            async with self._call("expire_session"):
                sessions = self._api.v1.checkout.sessions
                return _session(await sessions.expire_async(id, None, {"idempotency_key": f"{key}/{uuid4()}"}))
        except StripeRejected:
            return await self.session(id)

    async def coupon(self, *, id: str, name: str, amount: Money) -> str:
        """The id of a coupon that takes `amount` off, once; created if there is none with this id."""
        async with self._call("coupon"):
            made = await self._api.v1.coupons.create_async(
                {
                    "id": id,
                    "name": name[:40],
                    "amount_off": amount.amount,
                    "currency": amount.currency,
                    "duration": "once",
                    "max_redemptions": 1,
                },
                {"idempotency_key": id},
            )
            return made.id


def _session(session: stripe.checkout.Session) -> Session:
    return Session(
        id=session.id,
        status=cast(Literal["open", "complete", "expired"], session.status),
        url=session.url,
        expires_at=time_of(session.expires_at),
        paid=session.payment_status in ("paid", "no_payment_required"),
        intent_id=None if session.payment_intent is None else id_of(session.payment_intent),
    )
