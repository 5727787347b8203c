"""A sandbox within a test process: no socket, no running clock, no deliveries; `take` returns the events."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import httpx
import stripe

from stripe_sandbox import event_feed
from stripe_sandbox.app import create_app
from stripe_sandbox.event_feed import SignedEvent
from stripe_sandbox.settings import Settings

T = TypeVar("T")
_SECRET = "whsec_in_process"


class InProcess:
    """`client` is the official SDK client (sync and async), `browser` the same with the publishable key; `operate`
    calls the operator API.

    Each sync call runs its own event loop, so nothing is delivered to webhook endpoints (the one in the settings is
    ignored): `take` returns the webhooks instead.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = (settings or Settings()).model_copy(update={"webhook_url": None})
        self.app = create_app(self.settings)
        self.sandbox = self.app.state.sandbox
        self._cursor: str | None = None
        self.client = self._client(self.settings.secret_key.get_secret_value())
        self.browser = self._client(self.settings.publishable_key)

    def _client(self, key: str) -> stripe.StripeClient:
        return stripe.StripeClient(
            key,
            base_addresses={"api": "http://sandbox"},
            http_client=_AppTransport(self.app),
            max_network_retries=0,
        )

    async def operate(self, path: str, **body: Any) -> dict[str, Any]:
        """POSTs to the operator API (`path` under /sandbox/api). Raises httpx.HTTPStatusError, except for 402."""
        async with _http(self.app) as http:
            response = await http.post(f"/sandbox/api{path}", json=body)
        if response.status_code != 402:
            response.raise_for_status()
        return dict(response.json())

    def operate_now(self, path: str, **body: Any) -> dict[str, Any]:
        """`operate` for sync code."""
        return _run(self.operate(path, **body))

    def take(self, secret: str = _SECRET) -> list[SignedEvent]:
        """Events logged since the last call, oldest first, signed with `secret`."""
        events = []
        while True:
            page = event_feed.since(self.sandbox, self._cursor)
            events += [event_feed.sign(event, secret) for event in page.events]
            self._cursor = page.next
            if not page.has_more:
                return events


class _AppTransport(stripe.HTTPClient):
    """An SDK transport that calls the application directly."""

    name = "in-process"

    def __init__(self, app: Any) -> None:
        super().__init__()
        self._app = app

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        *,
        _usage: list[str] | None = None,
    ) -> tuple[str, int, Mapping[str, str]]:
        content, status, response_headers = _run(self.request_async(method, url, headers or {}, post_data))
        return content.decode(), status, response_headers

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        async with _http(self._app) as http:
            response = await http.request(method, url, headers=dict(headers), content=post_data or b"")
        return response.content, response.status_code, response.headers

    def close(self) -> None:
        """There is no connection to close."""

    async def close_async(self) -> None:
        """There is no connection to close."""


def _http(app: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://sandbox")


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine from sync code, even within a running event loop (then in a thread)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, coroutine).result()
