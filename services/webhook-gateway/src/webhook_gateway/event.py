"""A Stripe event as received: the attributes that the gateway needs, and the raw body."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kit.http.errors import Problem

_ID = re.compile(r"[A-Za-z0-9_\-]{1,128}")
_TYPE = re.compile(r"[a-z0-9_.\[\]]{1,128}")


@dataclass(frozen=True, kw_only=True)
class StripeEvent:
    id: str
    type: str
    body: bytes


def parse_event(body: bytes) -> StripeEvent:
    """Returns the event in a verified body. Raises a 400 Problem if there is none."""
    event = decode(body)
    event_id, event_type = event.get("id"), event.get("type")
    if not isinstance(event_id, str) or not _ID.fullmatch(event_id):
        raise _not_an_event("its id is missing or invalid")
    if not isinstance(event_type, str) or not _TYPE.fullmatch(event_type):
        raise _not_an_event("its type is missing or invalid")
    return StripeEvent(id=event_id, type=event_type, body=body)


def decode(body: bytes) -> Mapping[str, Any]:  # Any: JSON from outside, read through `fields`
    """Returns the JSON object in a body. Raises a 400 Problem for anything else."""
    try:
        event = json.loads(body.decode())
    except (ValueError, RecursionError):  # not UTF-8, not JSON, a number with thousands of digits; nested too deeply
        raise _not_an_event("it is not JSON in UTF-8") from None
    if not isinstance(event, dict):
        raise _not_an_event("it is not a JSON object")
    return event


def _not_an_event(reason: str) -> Problem:
    return Problem(400, "not_an_event", f"The request body is not a Stripe event: {reason}.")
