"""What an event says about purchases and people. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

_STRIPE_ID = re.compile(r"(?:acct|ch|cs|cus|dp|du|evt|in|inpay|mandate|pi|pm|py|pyr|re|sub|sub_sched)_\w{4,255}")
_ID_OF_EVENT = re.compile(r"(evt_\w{4,255})/")
NOT_OF_ONE_PAYMENT = ("acct_", "cus_", "mandate_", "pm_")
"""What many purchases have in common."""

# Any: JSON
Json = Any


def references(event_id: str, body: Json) -> tuple[str, ...]:
    """Stripe's ids in an event: of the Stripe event that it comes from, and of whatever it names."""
    found = set(_stripe_ids(body))
    if match := _ID_OF_EVENT.match(event_id):
        found.add(match[1])
    return tuple(sorted(found))


def _stripe_ids(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        if _STRIPE_ID.fullmatch(value):
            yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _stripe_ids(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _stripe_ids(inner)


def linking(refs: frozenset[str]) -> frozenset[str]:
    """Those by which another event belongs to the same purchase."""
    return frozenset(ref for ref in refs if not ref.startswith(NOT_OF_ONE_PAYMENT))


def uuid_of(body: Json, name: str) -> UUID | None:
    """`purchase_id` or `student_id` of an event; of an audit record, of its act."""
    for each in (body, body.get("act") if isinstance(body, Mapping) else None):
        value = each.get(name) if isinstance(each, Mapping) else None
        if isinstance(value, str):
            try:
                return UUID(value)
            except ValueError:
                return None
    return None
