"""Faults to inject into the API."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Literal

from fastapi import Request
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

Kind = Literal["slow", "status", "acts_then_times_out", "redirect", "rate_limit", "garbage"]


class Fault(BaseModel):
    """A fault. `requests` is the number of requests that it affects; None for all until it is cleared."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    requests: int | None = Field(default=None, ge=1)
    methods: list[str] = Field(default_factory=list)
    """Affected HTTP methods; empty for all."""
    seconds: float = Field(default=30.0, ge=0)
    """slow: delay before the request; new faults end it. acts_then_times_out: delay after the request, then a 504."""
    status: int = Field(default=500, ge=400, le=599)
    retry_after: str | None = "1"
    location: str = "/v1/elsewhere"
    body: str = "<html><body>Welcome to the airport's network</body></html>"
    size: int = Field(default=0, ge=0, le=50_000_000)
    """garbage: pad the body to this many bytes."""


class FaultList(BaseModel):
    model_config = ConfigDict(extra="forbid")

    faults: list[Fault]


class Faults:
    def __init__(self) -> None:
        self.active: list[Fault] = []
        self._replaced = asyncio.Event()

    def replace(self, faults: list[Fault]) -> None:
        """Puts these faults in force, and ends the delays of the ones before."""
        self.active = faults
        self._replaced.set()
        self._replaced = asyncio.Event()

    async def delay(self, seconds: float) -> None:
        """Waits, but not longer than until the faults are replaced."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._replaced.wait(), seconds)

    def take(self, method: str) -> Fault | None:
        """The first fault for a request with this method; counts it."""
        for fault in self.active:
            if fault.methods and method not in fault.methods:
                continue
            if fault.requests is not None:
                fault.requests -= 1
                if fault.requests == 0:
                    self.active.remove(fault)
            return fault
        return None


async def apply_fault(
    fault: Fault, faults: Faults, request: Request, handle: Callable[[], Awaitable[Response]]
) -> Response:
    """The response under a fault. `handle` processes the request; not all faults do."""
    match fault.kind:
        case "slow":
            await request.body()  # so that it can be processed even if the client has gone
            await faults.delay(fault.seconds)
            return await handle()
        case "acts_then_times_out":
            await handle()
            await _wait(request, fault.seconds)
            return _error(504, "gateway_timeout")
        case "redirect":
            return RedirectResponse(fault.location, 307)
        case "rate_limit":
            headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
            return _error(429, "rate_limited", headers)
        case "garbage":
            return Response(fault.body.ljust(fault.size), 200, media_type="application/json")
        case "status":
            return _error(fault.status, "ordered_fault")


async def _wait(request: Request, seconds: float) -> None:
    for _ in range(int(seconds * 20)):
        if await request.is_disconnected():
            return
        await asyncio.sleep(0.05)


def _error(status: int, code: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": "Injected fault."}}, status, headers=headers)
