"""The Stripe object whose events are fetched, and which events belong to it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from contracts.envelope import Event
from contracts.payments import PaymentEvent, PaymentSucceeded
from webhook_gateway.translate import TRANSLATED, translate

_ID = re.compile(r"(cs|pi|in|sub)_[A-Za-z0-9_]{1,240}")

_PAYMENTS = ("payment_intent.", "charge.", "refund.")
_SUBSCRIPTIONS = ("customer.subscription.", "subscription_schedule.", "invoice.", "invoice_payment.", *_PAYMENTS)


@dataclass(frozen=True)
class _Kind:
    path: str
    families: tuple[str, ...]
    """What the types of its events begin with."""


_KINDS: Mapping[str, _Kind] = {
    "cs": _Kind("/v1/checkout/sessions/", ("checkout.session.", *_SUBSCRIPTIONS)),
    "pi": _Kind("/v1/payment_intents/", ("checkout.session.", "invoice_payment.", *_PAYMENTS)),
    "in": _Kind("/v1/invoices/", _SUBSCRIPTIONS),
    "sub": _Kind("/v1/subscriptions/", _SUBSCRIPTIONS),
}


@dataclass(frozen=True)
class FetchedObject:
    """A session, a payment intent, an invoice or a subscription."""

    id: str
    kind: str

    @classmethod
    def parse(cls, object_id: str) -> FetchedObject | None:
        """None for any other id."""
        found = _ID.fullmatch(object_id)
        return None if found is None else cls(object_id, found[1])

    @property
    def path(self) -> str:
        """Where Stripe's API has it."""
        return _KINDS[self.kind].path + self.id

    @property
    def event_types(self) -> Sequence[str]:
        """The types of its own events, and of what belongs to it."""
        return sorted(each for each in TRANSLATED if each.startswith(_KINDS[self.kind].families))

    def is_paid(self, thing: Mapping[str, Any]) -> bool:  # Any: JSON
        """Whether Stripe's object says that money was received for it."""
        match self.kind:
            case "cs":
                return thing.get("payment_status") == "paid"
            case "pi":
                return thing.get("status") == "succeeded"
            case "in":
                return thing.get("status") == "paid"
            case _:
                return False


@dataclass(frozen=True, kw_only=True)
class ListedEvent:
    """What is remembered of an event that Stripe lists. `refs`: the objects that what we publish for it names."""

    id: str
    refs: frozenset[str]
    received: bool
    """Whether it reports money that was received."""


def listed_event(event: Mapping[str, Any], *, now: datetime) -> ListedEvent | None:  # Any: JSON
    """None if nothing is published for it."""
    for envelope in translate(event, received_at=now):
        received = isinstance(envelope.data, PaymentSucceeded)
        return ListedEvent(id=envelope.causation_id, refs=_refs(envelope.data), received=received)
    return None


def _refs(event: Event) -> frozenset[str]:
    if not isinstance(event, PaymentEvent):
        return frozenset()
    subscription = {event.refs.subscription} if event.refs.subscription else set()
    return event.refs.of_payment() | subscription


def belonging_to(wanted: FetchedObject, listed: Iterable[ListedEvent]) -> list[ListedEvent]:
    """The events that share a reference with the object, directly or through others, in the order given."""
    events = list(listed)
    refs = {wanted.id}
    while more := set(_connected(events, refs)) - refs:
        refs |= more
    return [event for event in events if event.refs & refs]


def _connected(events: Iterable[ListedEvent], refs: set[str]) -> Iterator[str]:
    for event in events:
        if event.refs & refs:
            yield from event.refs
