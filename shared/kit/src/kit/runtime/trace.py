"""W3C trace context: the traceparent that follows a payment from the first request to the last mail."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from contracts.envelope import Envelope, Event

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def new_traceparent() -> str:
    """A trace that starts here, sampled. Source: https://www.w3.org/TR/trace-context/#traceparent-header"""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def accepted(header: str | None) -> str:
    """The caller's traceparent when it is one, else a new one."""
    return header if header and _TRACEPARENT.fullmatch(header) else new_traceparent()


@dataclass(frozen=True, kw_only=True)
class Cause:
    """What led here: kept with everything that follows from it, so that one payment's events hang together."""

    id: str
    subject: str
    correlation_id: str
    traceparent: str


def cause_of(heard: Envelope[Event]) -> Cause:
    return Cause(
        id=heard.id,
        subject=heard.subject,
        correlation_id=heard.correlation_id or heard.id,
        traceparent=heard.traceparent or new_traceparent(),
    )
