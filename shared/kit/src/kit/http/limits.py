"""Limits on what one caller may ask for: a user by their id, everyone else by their address."""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Depends, Request
from limits import parse
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError
from limits.storage import storage_from_string

from kit.http.auth import Caller, caller_of
from kit.http.problems import TOO_MANY_REQUESTS
from kit.runtime.outages import Outage
from kit.runtime.settings import LimitSettings

ADMIN_PATHS = "/api/admin/"
_READS = ("GET", "HEAD", "OPTIONS")


class Limits:
    """Counted in this process, or in Redis for all processes. Without Redis nothing is limited, and that is logged."""

    def __init__(self, limits: Mapping[str, str], *, redis_url: str | None = None) -> None:
        """`limits`: `10/minute` by kind; empty: without limit. Raises ValueError for one that cannot be read."""
        options: dict[str, Any] = {"implementation": "redispy", "socket_timeout": 1} if redis_url else {}
        self._storage = storage_from_string(f"async+{redis_url or 'memory://'}", wrap_exceptions=True, **options)
        self._limiter = SlidingWindowCounterRateLimiter(self._storage)
        self._limits = {kind: parse(limit) for kind, limit in limits.items() if limit}
        self._outage = Outage("rate limits")

    @classmethod
    def of(cls, settings: LimitSettings) -> Limits:
        redis = settings.rate_limit_redis_url
        return cls(
            {
                "money": settings.rate_limit_money,
                "guesses": settings.rate_limit_guesses,
                "exports": settings.rate_limit_exports,
            },
            redis_url=redis.get_secret_value() if redis else None,
        )

    async def take(self, kind: str, client: str) -> None:
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
            raise TOO_MANY_REQUESTS(f"At most {limit}; wait {seconds} seconds.", headers={"Retry-After": str(seconds)})


def is_read(request: Request) -> bool:
    return request.method in _READS


def is_change(request: Request) -> bool:
    return request.method not in _READS


@dataclass(frozen=True)
class Limited:
    """A dependency that takes from this limit for the requests to which it applies."""

    kind: str
    applies: Callable[[Request], bool]

    async def __call__(self, request: Request) -> None:
        if self.applies(request):
            limits: Limits = request.app.state.limits
            await limits.take(self.kind, _client(request, await caller_of(request)))


def limited(kind: str, applies: Callable[[Request], bool] = lambda _: True) -> Any:  # Any: as FastAPI's Depends
    return Depends(Limited(kind, applies))


def _client(request: Request, caller: Caller | None) -> str:
    """Of an IPv6 address its /64, which is what one customer of a provider gets. ::ffff:192.0.2.1 is 192.0.2.1."""
    if caller is not None:
        return f"user/{caller.id}"
    host = request.client.host if request.client else "unknown"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    network = ipaddress.ip_network((address, 64 if address.version == 6 else 32), strict=False)
    return f"address/{network}"


LIMIT_MONEY = limited("money", lambda request: is_change(request) and not request.url.path.startswith(ADMIN_PATHS))
"""For an API whose changes move money or open sessions at Stripe. Admins' routes are not limited."""
LIMIT_GUESSES = limited("guesses")
"""For a route that says whether a code or a token exists."""
LIMIT_EXPORTS = limited("exports")
"""For a route that returns everything about a student."""
