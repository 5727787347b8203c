"""Limits on what one caller may ask for: a user by their id, everyone else by their address."""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Callable
from typing import Any, Literal

from fastapi import Depends, Request
from limits import parse
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError
from limits.storage import storage_from_string

from kit.http.auth import Caller, caller_of
from kit.http.errors import Problem
from kit.runtime.outages import Outage
from kit.runtime.settings import LimitSettings

Kind = Literal["money", "guesses"]
ADMIN_PATHS = "/api/admin/"
_READS = ("GET", "HEAD", "OPTIONS")


class Limits:
    """Counted in this process, or in Redis for all processes. Without Redis nothing is limited, and that is logged."""

    def __init__(self, settings: LimitSettings) -> None:
        """Raises ValueError if RATE_LIMIT_REDIS_URL is invalid."""
        redis = settings.rate_limit_redis_url
        options: dict[str, Any] = {"implementation": "redispy", "socket_timeout": 1} if redis else {}
        url = redis.get_secret_value() if redis else "memory://"
        self._storage = storage_from_string(f"async+{url}", wrap_exceptions=True, **options)
        self._limiter = SlidingWindowCounterRateLimiter(self._storage)
        limits = {"money": settings.rate_limit_money, "guesses": settings.rate_limit_guesses}
        self._limits = {kind: parse(limit) for kind, limit in limits.items() if limit}
        self._outage = Outage("rate limits")

    async def take(self, kind: Kind, client: str) -> None:
        """Raises a 429 Problem if this client has used up its limit."""
        limit = self._limits.get(kind)
        if limit is None:
            return
        try:
            taken = await self._limiter.hit(limit, kind, client)
            window = await self._limiter.get_window_stats(limit, kind, client)
        except StorageError as error:
            self._outage.failed(error)
            return
        self._outage.ended()
        if not taken:
            seconds = max(1, math.ceil(window.reset_time - time.time()))
            raise Problem(
                429,
                "too_many_requests",
                f"Too many requests; wait {seconds} seconds.",
                headers={"Retry-After": str(seconds)},
            )


def _client(request: Request, caller: Caller | None) -> str:
    """Of an IPv6 address its /64, which is what one customer of a provider gets."""
    if caller is not None:
        return f"user/{caller.id}"
    host = request.client.host if request.client else "unknown"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    network = ipaddress.ip_network((address, 64 if address.version == 6 else 32), strict=False)
    return f"address/{network}"


def _limit(kind: Kind, applies: Callable[[Request], bool]) -> Any:
    async def check(request: Request) -> None:
        if applies(request):
            limits: Limits = request.app.state.limits
            await limits.take(kind, _client(request, await caller_of(request)))

    return Depends(check)


LIMIT_CHANGES = _limit(
    "money", lambda request: request.method not in _READS and not request.url.path.startswith(ADMIN_PATHS)
)
"""For an API whose changes move money or open sessions at Stripe. Admins' routes are not limited."""
LIMIT_GUESSES = _limit("guesses", lambda _: True)
"""For a route that says whether a code or a token exists."""
