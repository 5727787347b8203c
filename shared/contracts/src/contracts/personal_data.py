"""Which fields of events are personal data, and events without them. Pure.

Amounts, times, states and ids are kept: they are the books, and name nobody but by an id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from contracts.checkout import StudentUpdated
from contracts.envelope import Envelope, Event

PERSONAL = frozenset(
    {
        "authorization_number",
        "bank",
        "checkout_url",
        "contact",
        "email",
        "last4",
        "links",
        "pay_url",
        "payer_contact",
        "pdf",
        "url",
    }
)
"""Fields that name or reach a person, or that pay for one, at whatever depth. (A receipt's `pdf` has the payer's name,
and a page of Stripe's has it, too.)"""
PERSONAL_OF: Mapping[str, frozenset[str]] = {"refund.requested.v1": frozenset({"reason"})}
"""The same, of one type of event: what students write themselves."""
REASONS: Mapping[str, frozenset[str]] = {
    "audit.recorded.v1": frozenset({"reason"}),
    "purchase.ended.v1": frozenset({"reason"}),
}
"""What staff write. It has to be kept as long as the student is not erased."""
_REQUIRED: Mapping[str, Mapping[str, object]] = {
    "purchase.created.v1": {"checkout_url": ""},
    "purchase.ended.v1": {"reason": ""},
    "receipt.issued.v1": {"pdf": ""},
    "refund.requested.v1": {"reason": ""},
    "student.updated.v1": {"contact": {"email": ""}},
}
"""What stands for fields that an event of this type must have."""
_NOTHING_LEFT = frozenset({StudentUpdated.type})
"""Events that consist of personal data: without it they say nothing."""

_IDENTIFIER = re.compile(
    rb'"([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|(?=[^"]*[0-9A-Z])[a-z]{2,12}_[A-Za-z0-9_]{4,250})"'
)

Json = Any  # what json.loads returns
E = TypeVar("E", bound=Event)


def removed(type_: str, body: Json) -> Json:
    """The body without the fields that name or reach a person."""
    return _without(body, PERSONAL | PERSONAL_OF.get(type_, frozenset()))


def erased(type_: str, body: Json) -> Json:
    """The body of an event about an erased student. Fields that it must have are empty, so that it can be read."""
    kept = _without(removed(type_, body), REASONS.get(type_, frozenset()))
    return {**kept, **_REQUIRED.get(type_, {})} if isinstance(kept, dict) else kept


def without(event: Envelope[E]) -> Envelope[E] | None:
    """The event as it is without personal data. None: nothing is left of it."""
    if event.type in _NOTHING_LEFT:
        return None
    body = json.dumps(erased(event.type, json.loads(event.received or event.body()))).encode()
    return replace(event, data=type(event.data).model_validate_json(body), received=body)


def identifiers(body: bytes) -> frozenset[str]:
    """UUIDs and ids of Stripe's form that a JSON body has; UUIDs in lower case."""
    found = (match.decode() for match in _IDENTIFIER.findall(body))
    return frozenset(each if "_" in each else each.lower() for each in found)


def is_identifier(text: str) -> bool:
    """Whether `identifiers` finds it. Anything else (an empty text, a word) is in bodies about other people, too."""
    return identifiers(json.dumps(text).encode()) == {text}


def _without(value: Json, dropped: frozenset[str]) -> Json:
    if isinstance(value, dict):
        return {name: _without(inner, dropped) for name, inner in value.items() if name not in dropped}
    if isinstance(value, list):
        return [_without(inner, dropped) for inner in value]
    return value
