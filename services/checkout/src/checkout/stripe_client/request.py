"""What every kind of call shares: one client with a time limit, and the errors that it raises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Protocol

import stripe
import structlog

from checkout.settings import StripeSettings
from kit.runtime.failures import Permanent, Transient

log = structlog.get_logger(__name__)

_LATER = frozenset({401, 403, 409, 429})
"""The request is right, but was sent at the wrong moment or with an API key that an operator has to replace."""


class StripeRejected(Permanent):
    """Stripe has rejected the request. `code` is Stripe's, and `param` the parameter that it names."""

    def __init__(self, code: str, param: str | None = None) -> None:
        super().__init__(f"rejected by Stripe: {code}")
        self.code = code
        self.param = param


class StripeUnavailable(Transient):
    """Stripe could not be reached, or cannot answer now."""


class StripeNotConfigured(StripeUnavailable):
    """There is no Stripe API key."""


class StripeCalls:
    def __init__(self, settings: StripeSettings) -> None:
        self.configured = bool(settings.stripe_api_key.get_secret_value())
        self._http = stripe.HTTPXClient(timeout=settings.stripe_timeout_seconds)
        self._seconds = settings.stripe_timeout_seconds * 2.5
        self._api = stripe.StripeClient(
            settings.stripe_api_key.get_secret_value() or "sk_none",
            stripe_version=settings.stripe_api_version,
            base_addresses={"api": settings.stripe_api_base} if settings.stripe_api_base else None,
            max_network_retries=settings.stripe_retries,
            http_client=self._http,
        )

    async def close(self) -> None:
        await self._http.close_async()  # type: ignore[no-untyped-call]

    async def check(self) -> None:
        """Raises StripeUnavailable or StripeRejected unless Stripe answers with our key."""
        async with self._call("check"):
            await self._api.v1.prices.list_async({"limit": 1})

    @asynccontextmanager
    async def _call(self, name: str) -> AsyncIterator[None]:
        """Raises StripeUnavailable or StripeRejected; neither quotes the request."""
        if not self.configured:
            raise StripeNotConfigured("STRIPE_API_KEY is not set")
        try:
            async with asyncio.timeout(self._seconds):
                yield
        except TimeoutError:
            log.warning("stripe unavailable", call=name, error="timeout")
            raise StripeUnavailable("Stripe did not answer in time") from None
        except stripe.StripeError as error:
            status, code = error.http_status, _code(error)
            if status is None or not 400 <= status < 500 or status in _LATER:
                log.warning("stripe unavailable", call=name, status=status, code=code, request=error.request_id)
                raise StripeUnavailable(f"Stripe cannot answer now: {code}") from None
            log.error("stripe rejected the call", call=name, status=status, code=code, request=error.request_id)
            raise StripeRejected(code, getattr(error, "param", None)) from None


def _code(error: stripe.StripeError) -> str:
    """Stripe's code, else the type of the error with the parameter that it names; never its message."""
    return error.code or ":".join(filter(None, (type(error).__name__, getattr(error, "param", None))))


class HasId(Protocol):
    @property
    def id(self) -> str: ...


def id_of(found: str | HasId) -> str:
    """Of a field that Stripe sends expanded or as an id only."""
    return found if isinstance(found, str) else found.id


def time_of(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
