"""Reads Stripe's API: objects, their lists, and the list of events. Nothing is written to Stripe.

Without the SDK: an event is stored as the JSON that Stripe sends, which the SDK would convert to its objects and back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import httpx

from kit.runtime.backoff import Backoff
from kit.runtime.failures import Permanent, Transient

RETENTION = timedelta(days=30)
"""How long Stripe lists an event (https://docs.stripe.com/api/events)."""
MAX_TYPES = 20
"""Stripe SDK 16.1, EventListParams.types: "An array of up to 20 strings"."""
PAGE = 100
ONCE = Backoff(attempts=1)

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
        backoff: Backoff = ONCE,
        requests_per_second: float | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`seconds`: per request. `backoff`: between the attempts of a request that Stripe cannot answer now, or
        refuses because of its rate limits. `requests_per_second`: None for no limit. `transport`: for tests."""
        self.configured = bool(api_key)
        self._backoff = backoff
        self._pause = 1 / requests_per_second if requests_per_second else 0.0
        self._next_at = 0.0
        headers = {"Authorization": f"Bearer {api_key}", "Stripe-Version": version, "User-Agent": "bursar"}
        self._account = {} if account is None else {"Stripe-Account": account}
        self._http = httpx.AsyncClient(
            base_url=base,
            headers=headers,
            timeout=httpx.Timeout(seconds),
            follow_redirects=False,  # a redirect would send the API key to another host
            transport=transport,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def read(self, path: str, *, expand: Sequence[str] = ()) -> JsonObject:
        """The object at a path of the API."""
        return await self._get(path, self._account, {"expand[]": list(expand)} if expand else None)

    async def events(self, *, types: Sequence[str], since: datetime) -> AsyncIterator[JsonObject]:
        """All events of these types since then, newest first for each 20 types."""
        for some in chunks(types, MAX_TYPES):
            async for page in self.event_pages(types=some, since=since):
                for event in page:
                    yield event

    def event_pages(
        self, *, types: Sequence[str], since: datetime, until: datetime | None = None
    ) -> AsyncIterator[list[JsonObject]]:
        """The events of at most 20 types, created since then and before `until`, newest first."""
        params: dict[str, Any] = {"types[]": list(types), "created[gte]": int(since.timestamp())}
        if until is not None:
            params["created[lt]"] = int(until.timestamp())
        return self._pages("/v1/events", params, self._account)

    def object_pages(
        self,
        path: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        expand: Sequence[str] = (),
        params: Mapping[str, str] | None = None,
        after: str | None = None,
    ) -> AsyncIterator[list[JsonObject]]:
        """The objects of a list, created since then and before `until`, newest first. `after`: the id of the last one
        that was read before."""
        query: dict[str, Any] = dict(params or {})
        if expand:
            query["expand[]"] = [f"data.{each}" for each in expand]
        if since is not None:
            query["created[gte]"] = int(since.timestamp())
        if until is not None:
            query["created[lt]"] = int(until.timestamp())
        if after is not None:
            query["starting_after"] = after
        return self._pages(path, query, self._account)

    async def webhook_endpoints(self) -> list[JsonObject]:
        """Those of the API key's own account: with Stripe Connect, the platform's endpoint gets the events of connected
        accounts (https://docs.stripe.com/connect/webhooks)."""
        return [each async for page in self._pages("/v1/webhook_endpoints", {}, {}) for each in page]

    async def _pages(
        self, path: str, params: Mapping[str, Any], headers: Mapping[str, str]
    ) -> AsyncIterator[list[JsonObject]]:
        params = {**params, "limit": PAGE}
        while True:
            page = await self._get(path, headers, params)
            found: list[JsonObject] = [each for each in page.get("data") or () if isinstance(each, dict)]
            yield found
            if page.get("has_more") is not True or not found:
                break
            params["starting_after"] = found[-1].get("id")

    async def event(self, event_id: str) -> JsonObject:
        return await self._get(f"/v1/events/{event_id}", self._account)

    async def _get(self, path: str, headers: Mapping[str, str], params: Mapping[str, Any] | None = None) -> JsonObject:
        if not self.configured:
            raise StripeNotConfigured("STRIPE_API_KEY is not set")
        attempt = 1
        while True:
            await self._wait_for_turn()
            try:
                return await self._get_once(path, headers, params)
            except StripeUnavailable:
                if self._backoff.exhausted(attempt):
                    raise
            await asyncio.sleep(self._backoff.delay(attempt).total_seconds())
            attempt += 1

    async def _wait_for_turn(self) -> None:
        now = time.monotonic()
        self._next_at = max(self._next_at, now) + self._pause
        await asyncio.sleep(self._next_at - self._pause - now)

    async def _get_once(self, path: str, headers: Mapping[str, str], params: Mapping[str, Any] | None) -> JsonObject:
        try:
            response = await self._http.get(path, params=params, headers=headers)
            found = response.json() if response.is_success else None
        except (httpx.HTTPError, ValueError) as error:
            raise StripeUnavailable(f"no valid response: {type(error).__name__}") from None
        if isinstance(found, dict):
            return found
        status = response.status_code
        if 400 <= status < 500 and status not in _LATER:
            raise StripeRejected(status)
        raise StripeUnavailable(f"HTTP {status}")


def chunks(types: Sequence[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(types), size):
        yield list(types[start : start + size])
