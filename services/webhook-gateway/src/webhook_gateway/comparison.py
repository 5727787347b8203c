"""Compares an object at Stripe with what was published about it. Pure.

Stripe's side is the translation of the event that reports the object's state, ours the translation of the journaled
events. So both follow the same rules, and what the translation ignores (a product of another system, an authorization)
is no difference. What several events say together is what the ledger says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from contracts.money import Money
from contracts.payments import (
    PaymentDisputeClosed,
    PaymentDisputeOpened,
    PaymentEvent,
    PaymentFailed,
    PaymentPending,
    PaymentRefs,
    PaymentRefunded,
    PaymentSucceeded,
)
from ledger.payment import Payment
from ledger.subscriptions import latest_state
from webhook_gateway.fields import JsonObject, money, money_at, object_at, object_id, signed_integer, text
from webhook_gateway.stripe_objects import SOURCE_KINDS, ObjectKind, Rendering, event_types, is_card_attempt
from webhook_gateway.translate import translate

_DISPUTES = (PaymentDisputeOpened, PaymentDisputeClosed)


@dataclass(frozen=True, kw_only=True)
class JournaledEvent:
    """`object_id`: the object that it is about. `event` None: nothing was published for it, or its month was dropped
    (`dropped`)."""

    object_id: str
    event: PaymentEvent | None
    dropped: bool = False


@dataclass(frozen=True, kw_only=True)
class ComparedField:
    """Both sides as text: a status, or minor units with their currency. None: nothing."""

    name: str
    stripe: str | None
    published: str | None

    @property
    def differs(self) -> bool:
        return self.stripe != self.published


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """`missing`: the events that the journal should have. `fields`: what was compared, with both sides."""

    kind: ObjectKind
    object_id: str
    missing: Sequence[JsonObject] = ()
    fields: Sequence[ComparedField] = ()
    refs: PaymentRefs = field(default_factory=PaymentRefs)
    purchase_id: UUID | None = None

    @property
    def differences(self) -> Sequence[ComparedField]:
        return [each for each in self.fields if each.differs]


def keys(kind: ObjectKind, thing: JsonObject) -> frozenset[str]:
    """The ids by which the events that are about the object, or that change what it says, are found."""
    match kind:
        case ObjectKind.BALANCE_TRANSACTION:
            found = {object_id(thing, "source")}
        case ObjectKind.REFUND | ObjectKind.DISPUTE:  # the charge says whose they are
            found = {object_id(thing, "id"), object_id(thing, "charge")}
        case _:
            found = {object_id(thing, "id")}
    return frozenset(each for each in found if each is not None)


def compare(
    kind: ObjectKind, thing: JsonObject, journaled: Mapping[str, Sequence[JournaledEvent]], rendering: Rendering
) -> Comparison:
    """`journaled`: the events by the keys of the object."""
    id = object_id(thing, "id") or ""
    if kind is ObjectKind.BALANCE_TRANSACTION:
        return _compare_movement(id, thing, journaled)
    found = [each for key in sorted(keys(kind, thing)) for each in journaled.get(key, ())]
    own = [each for each in found if each.object_id == id]
    if any(each.dropped for each in own):
        return Comparison(kind=kind, object_id=id)
    published = [each.event for each in own if each.event is not None]
    expected = _expected(kind, thing, rendering)
    missing = [content for content, event in expected if not any(_reports(each, event) for each in published)]
    events = [event for _, event in expected]
    connected = [each.event for each in found if each.event is not None]
    return Comparison(
        kind=kind,
        object_id=id,
        missing=missing,
        fields=[] if missing else list(_fields(kind, thing, events, published, connected)),
        refs=next((each.refs for each in (*events, *published)), PaymentRefs()),
        purchase_id=next((each.purchase_id for each in (*events, *connected) if each.purchase_id), None),
    )


def _expected(kind: ObjectKind, thing: JsonObject, rendering: Rendering) -> list[tuple[JsonObject, PaymentEvent]]:
    """The events that report the object's state, with what is published for them."""
    found = []
    for type in event_types(kind, thing):
        content = rendering.event(kind, thing, type)
        for envelope in translate(content, received_at=rendering.now):
            if isinstance(envelope.data, PaymentEvent):
                found.append((content, envelope.data))
    return found


def _reports(published: PaymentEvent, expected: PaymentEvent) -> bool:
    """Whether what was published says what is expected, whatever its amount or status."""
    match expected:
        case PaymentDisputeOpened() | PaymentDisputeClosed():
            return isinstance(published, _DISPUTES) and expected.funds in (None, published.funds)
        case PaymentPending():
            return isinstance(published, (PaymentPending, PaymentSucceeded, PaymentFailed))
        case PaymentFailed():
            return isinstance(published, PaymentFailed) and published.final >= expected.final
        case _:
            return isinstance(published, type(expected))


def _fields(
    kind: ObjectKind,
    thing: JsonObject,
    expected: Sequence[PaymentEvent],
    published: Sequence[PaymentEvent],
    connected: Sequence[PaymentEvent],
) -> Iterable[ComparedField]:
    match kind:
        case ObjectKind.REFUND:
            yield from _refund(expected, published)
        case ObjectKind.DISPUTE:
            yield from _dispute(expected, published)
        case ObjectKind.SUBSCRIPTION:
            current, stored = latest_state(expected), latest_state(published)
            if current is not None:
                yield ComparedField(
                    name="status", stripe=current.status, published=stored.status if stored is not None else None
                )
        case _:
            yield from _received(thing, expected, published)
    if kind is ObjectKind.CHARGE and published:
        total = money_at(thing, "amount_refunded")
        if total is not None:
            refunded = Money(amount=Payment(tuple(connected)).refunded, currency=total.currency)
            yield ComparedField(name="refunded", stripe=_text(total), published=_text(refunded))


def _received(
    thing: JsonObject, expected: Sequence[PaymentEvent], published: Sequence[PaymentEvent]
) -> Iterable[ComparedField]:
    ours = _most(published)
    theirs = _most(expected)
    if theirs is not None and ours is not None:
        yield ComparedField(name="amount", stripe=_text(theirs), published=_text(ours))
        yield ComparedField(name="status", stripe="succeeded", published="succeeded")
    elif ours is not None and ours.amount:
        status = text(thing, "payment_status") or text(thing, "status")
        yield ComparedField(name="status", stripe=status, published="succeeded")


def _most(events: Iterable[PaymentEvent]) -> Money | None:
    """Of several reports of one payment, the greatest: a charge that is captured in parts, an invoice that is
    overpaid."""
    amounts = [event.amount for event in events if isinstance(event, PaymentSucceeded)]
    return max(amounts, key=lambda each: (each.amount, each.currency), default=None)


def _refund(expected: Sequence[PaymentEvent], published: Sequence[PaymentEvent]) -> Iterable[ComparedField]:
    ours = [each for each in published if isinstance(each, PaymentRefunded) and each.amount is not None]
    for theirs in expected:
        if isinstance(theirs, PaymentRefunded) and ours:
            amount = max(ours, key=lambda each: each.amount.amount if each.amount else 0).amount
            yield ComparedField(name="amount", stripe=_text(theirs.amount), published=_text(amount))
            status = min((each.status for each in ours), key=_REFUND_STATUSES.index)
            yield ComparedField(name="status", stripe=theirs.status, published=status)


_REFUND_STATUSES = ("failed", "canceled", "succeeded", "requires_action", "pending")
"""A refund that has failed is not made after all (Stripe SDK 16.1, Refund.status)."""


def _dispute(expected: Sequence[PaymentEvent], published: Sequence[PaymentEvent]) -> Iterable[ComparedField]:
    """The status that follows from the events, in the order of the ledger."""
    theirs = next((each for each in expected if isinstance(each, _DISPUTES)), None)
    if theirs is None:
        return
    ours = Payment(tuple(each for each in published if isinstance(each, _DISPUTES)))
    amounts = [each.amount for each in published if isinstance(each, _DISPUTES)]
    yield ComparedField(name="status", stripe=theirs.status, published=ours.disputes.get(theirs.dispute_id))
    claimed = theirs.amount  # it changes when a part of the claim is withdrawn
    if claimed not in amounts:
        claimed = max(amounts, key=lambda each: each.amount)
    yield ComparedField(name="amount", stripe=_text(theirs.amount), published=_text(claimed))


def _compare_movement(id: str, thing: JsonObject, journaled: Mapping[str, Sequence[JournaledEvent]]) -> Comparison:
    """A balance transaction: money that has moved, for a charge or a refund that was published."""
    kind, source = SOURCE_KINDS.get(text(thing, "type") or ""), object_id(thing, "source")
    if kind is None or source is None:
        return Comparison(kind=ObjectKind.BALANCE_TRANSACTION, object_id=id)
    found = journaled.get(source, ())
    if any(each.dropped for each in found):
        return Comparison(kind=ObjectKind.BALANCE_TRANSACTION, object_id=id)
    published = [each.event for each in found if each.event is not None and each.object_id == source]
    amount = _MOVED[kind](published)
    moved = money(abs(signed_integer(thing, "amount") or 0), text(thing, "currency"))
    if amount is not None and moved is not None and amount.currency != moved.currency:
        fields = []  # converted into the currency of the balance
    else:
        fields = [ComparedField(name="amount", stripe=_text(moved), published=_text(amount))]
    refs = next((each.refs for each in published), _refs_of(kind, source))
    purchase_id = next((each.purchase_id for each in published if each.purchase_id), None)
    return Comparison(
        kind=ObjectKind.BALANCE_TRANSACTION, object_id=id, fields=fields, refs=refs, purchase_id=purchase_id
    )


def _refs_of(kind: ObjectKind, source: str) -> PaymentRefs:
    return PaymentRefs(charge=source) if kind is ObjectKind.CHARGE else PaymentRefs()


def _refunded(events: Iterable[PaymentEvent]) -> Money | None:
    return next((each.amount for each in events if isinstance(each, PaymentRefunded) and each.amount), None)


_MOVED: Mapping[ObjectKind, Callable[[Iterable[PaymentEvent]], Money | None]] = {
    ObjectKind.CHARGE: _most,
    ObjectKind.REFUND: _refunded,
}


def _text(amount: Money | None) -> str | None:
    """`489000 usd`; yen have no minor unit: `5000 jpy`."""
    return None if amount is None else f"{amount.amount} {amount.currency}"


def index_keys(event: JsonObject) -> frozenset[str]:
    """The ids under which a Stripe event is found: its object and, of a refund or dispute, the charge."""
    type = text(event, "type", limit=255) or ""
    if not type.startswith(_INDEXED) or type in _STILL_OWED:
        return frozenset()
    thing = object_at(event, "data", "object")
    if type == "payment_intent.payment_failed" and is_card_attempt(thing):
        return frozenset()
    found = [object_id(thing, "id")]
    if type.startswith(("refund.", "charge.dispute.")):
        found.append(object_id(thing, "charge"))
    return frozenset(each for each in found if each is not None)


_INDEXED = ("checkout.session.", "payment_intent.", "charge.", "refund.", "invoice.", "customer.subscription.")
_STILL_OWED = frozenset(
    {
        "payment_intent.requires_action",
        "invoice.payment_failed",
        "invoice.payment_action_required",
        "invoice.finalization_failed",
    }
)
"""What is still to be paid is not compared."""
