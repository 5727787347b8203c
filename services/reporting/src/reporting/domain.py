"""What an event says about purchases and people. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

PERSONAL = frozenset({"contact", "payer_contact", "email", "pdf", "last4", "pay_url", "checkout_url", "url", "links"})
"""Fields of events that name or reach a person, or that pay for one: never stored here, at whatever depth. (A receipt's
`pdf` has the payer's name, and a page of Stripe has it, too.)"""
PERSONAL_OF = {"refund.requested.v1": frozenset({"reason"})}
"""The same, of one type of event: what students write themselves."""

_STRIPE_ID = re.compile(r"(?:acct|ch|cs|cus|dp|du|evt|in|inpay|mandate|pi|pm|py|pyr|re|sub|sub_sched)_\w{4,255}")
_ID_OF_EVENT = re.compile(r"(evt_\w{4,255})/")
NOT_OF_ONE_PAYMENT = ("acct_", "cus_", "mandate_", "pm_")
"""What many purchases have in common."""

# Any: JSON
Json = Any


def without_personal_data(type_: str, body: Json) -> Json:
    """The body of an event as it is stored."""
    dropped = PERSONAL | PERSONAL_OF.get(type_, frozenset())
    return _without(body, dropped)


def _without(value: Json, dropped: frozenset[str]) -> Json:
    if isinstance(value, dict):
        return {name: _without(inner, dropped) for name, inner in value.items() if name not in dropped}
    if isinstance(value, list):
        return [_without(inner, dropped) for inner in value]
    return value


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
