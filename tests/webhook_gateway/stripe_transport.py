"""The sandbox of Stripe in this process, as the gateway's fetcher calls it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import httpx

from kit.runtime.backoff import Backoff
from stripe_sandbox.in_process import InProcess
from webhook_gateway.fetcher import Fetcher

PATIENT = Backoff(first=timedelta(milliseconds=1), longest=timedelta(milliseconds=2), attempts=4)


class Stripe(httpx.AsyncBaseTransport):
    """The sandbox, and the requests that it got."""

    def __init__(self) -> None:
        self.sandbox = InProcess()
        self.requests: list[httpx.Request] = []
        self.before: Callable[[httpx.Request], None] = lambda _: None
        self._transport = httpx.ASGITransport(app=self.sandbox.app)
        self.fetcher = Fetcher(
            api_key=self.sandbox.settings.secret_key.get_secret_value(),
            base="http://sandbox",
            version=self.sandbox.settings.api_version,
            backoff=PATIENT,
            transport=self,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.before(request)
        return await self._transport.handle_async_request(request)

    def emit(
        self, count: int = 1, type: str = "payment_intent.succeeded", created_in: timedelta = timedelta()
    ) -> list[str]:
        """Events that nobody receives, in their order."""
        events = [self.sandbox.sandbox.events.emit(type, {"id": f"pi_{n}"}) for n in range(count)]
        for event in events:
            event["created"] += int(created_in.total_seconds())
        return [event["id"] for event in events]
