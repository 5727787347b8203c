"""A sandbox inside a test: no socket, no clock that ticks, no deliveries; events are collected with `take`."""

import asyncio
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import httpx
import stripe

from stripe_sandbox import event_feed
from stripe_sandbox.app import create_app
from stripe_sandbox.event_feed import Signed
from stripe_sandbox.settings import Settings

T = TypeVar("T")
_SECRET = "whsec_in_process"


class InProcess:
    """`client` is the official SDK's, for sync and async calls; `operate` is the operator's API.

    Every sync call has an event loop of its own, so webhook endpoints are not for this (the one of the settings is
    left out): `take` hands out what they would have been sent.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = (settings or Settings()).model_copy(update={"webhook_url": None})
        self.app = create_app(self.settings)
        self.sandbox = self.app.state.sandbox
        self._cursor: str | None = None
        key = self.settings.secret_key.get_secret_value()
        self.client = stripe.StripeClient(
            key, base_addresses={"api": "http://sandbox"}, http_client=_Wireless(self.app), max_network_retries=0
        )

    async def operate(self, path: str, **body: Any) -> dict[str, Any]:
        """One POST to the operator's API (`path` under /sandbox/api). Raises httpx.HTTPStatusError but for a 402."""
        async with _http(self.app) as http:
            answer = await http.post(f"/sandbox/api{path}", json=body)
        if answer.status_code != 402:
            answer.raise_for_status()
        return dict(answer.json())

    def operate_now(self, path: str, **body: Any) -> dict[str, Any]:
        """`operate` for code that is not async."""
        return _finish(self.operate(path, **body))

    def take(self, secret: str = _SECRET) -> list[Signed]:
        """Events logged since the last call, oldest first, each signed with `secret`."""
        events = []
        while True:
            page = event_feed.since(self.sandbox, self._cursor)
            events += [event_feed.signed(event, secret) for event in page.events]
            self._cursor = page.next
            if not page.has_more:
                return events


class _Wireless(stripe.HTTPClient):
    """The SDK's transport, straight into the application."""

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
        content, status, answered = _finish(self.request_async(method, url, headers or {}, post_data))
        return content.decode(), status, answered

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        async with _http(self._app) as http:
            answer = await http.request(method, url, headers=dict(headers), content=post_data or b"")
        return answer.content, answer.status_code, answer.headers

    def close(self) -> None:
        """Nothing is open."""

    async def close_async(self) -> None:
        """Nothing is open."""


def _http(app: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://sandbox")


def _finish(work: Coroutine[Any, Any, T]) -> T:
    """Run it to its end from code that is not async, even inside a running event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as beside:
        return beside.submit(asyncio.run, work).result()
