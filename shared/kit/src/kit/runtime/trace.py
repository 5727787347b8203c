"""W3C trace context: the traceparent is passed on from the first request to the last mail."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from contracts.envelope import Envelope, Event

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def new_traceparent() -> str:
    """A new trace, sampled. Source: https://www.w3.org/TR/trace-context/#traceparent-header"""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


_of_request: ContextVar[str] = ContextVar("traceparent", default="")


def begin_trace(header: str | None) -> str:
    """Of a request: the caller's traceparent if it is valid, else a new one."""
    traceparent = header if header and _TRACEPARENT.fullmatch(header) else new_traceparent()
    _of_request.set(traceparent)
    return traceparent


def current_traceparent() -> str:
    """Of the request that is handled; a new one outside of any."""
    return _of_request.get() or new_traceparent()


def trace_id(traceparent: str) -> str:
    return traceparent[3:35]


@dataclass(frozen=True, kw_only=True)
class Cause:
    """The event that led to this work. Stored with its consequences, so that all events of a payment are correlated."""

    id: str
    subject: str
    correlation_id: str
    traceparent: str


def cause_of(event: Envelope[Event]) -> Cause:
    return Cause(
        id=event.id,
        subject=event.subject,
        correlation_id=event.correlation_id or event.id,
        traceparent=event.traceparent or new_traceparent(),
    )


def cause_of_latest(events: Iterable[Envelope[Any]]) -> Cause:
    """Of many events that have led to this work together."""
    return cause_of(max(events, key=lambda event: (event.time, event.id)))
