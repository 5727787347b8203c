"""Reads Stripe's API: one object, and the list of events. Nothing is written to Stripe.

Without the SDK: an event is stored as the JSON that Stripe sends, which the SDK would convert to its objects and back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import httpx

from kit.runtime.failures import Permanent, Transient

RETENTION = timedelta(days=30)
"""How long Stripe lists an event (https://docs.stripe.com/api/events)."""
MAX_TYPES = 20
"""Stripe SDK 16.1, EventListParams.types: "An array of up to 20 strings"."""
PAGE = 100

_LATER = frozenset({401, 403, 409, 429})
"""The request is right, but was sent at the wrong moment or with an API key that an operator has to replace."""

JsonObject = Mapping[str, Any]  # Any: JSON


class StripeRejected(Permanent):
    """Stripe has rejected the request: 404 if there is no such object."""

    def __init__(self, status: int) -> None:
        super().__init__(f"rejected by Stripe: HTTP {status}")
        self.status = status


class StripeUnavailable(Transient):
    """Stripe could not be reached, cannot answer now, or does not accept the API key."""


class StripeNotConfigured(Permanent):
    """There is no Stripe API key."""


class Fetcher:
    """Every method raises StripeUnavailable, StripeRejected or StripeNotConfigured."""

    def __init__(
        self,
        *,
        api_key: str,
        base: str,
        version: str,
        account: str | None = None,
        seconds: float = 8.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`transport`: for tests."""
        self._configured = bool(api_key)
        headers = {"Authorization": f"Bearer {api_key}", "Stripe-Version": version, "User-Agent": "bursar"}
        if account is not None:
            headers["Stripe-Account"] = account
        self._http = httpx.AsyncClient(
            base_url=base,
            headers=headers,
            timeout=httpx.Timeout(seconds),
            follow_redirects=False,  # a redirect would send the API key to another host
            transport=transport,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def read(self, path: str) -> JsonObject:
        """The object at a path of the API."""
        return await self._get(path)

    async def events(self, *, types: Sequence[str], since: datetime) -> AsyncIterator[JsonObject]:
        """All events of these types since then, newest first for each 20 types."""
        for some in _chunks(types, MAX_TYPES):
            params: dict[str, Any] = {"types[]": some, "created[gte]": int(since.timestamp()), "limit": PAGE}
            while True:
                page = await self._get("/v1/events", params)
                events = [each for each in page.get("data") or () if isinstance(each, dict)]
                for event in events:
                    yield event
                if page.get("has_more") is not True or not events:
                    break
                params["starting_after"] = events[-1].get("id")

    async def event(self, event_id: str) -> JsonObject:
        return await self._get(f"/v1/events/{event_id}")

    async def _get(self, path: str, params: Mapping[str, Any] | None = None) -> JsonObject:
        if not self._configured:
            raise StripeNotConfigured("STRIPE_API_KEY is not set")
        try:
            response = await self._http.get(path, params=params)
            found = response.json() if response.is_success else None
        except (httpx.HTTPError, ValueError) as error:
            raise StripeUnavailable(f"no valid response: {type(error).__name__}") from None
        if isinstance(found, dict):
            return found
        status = response.status_code
        if 400 <= status < 500 and status not in _LATER:
            raise StripeRejected(status)
        raise StripeUnavailable(f"HTTP {status}")


def _chunks(types: Sequence[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(types), size):
        yield list(types[start : start + size])
