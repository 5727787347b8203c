"""The objects at Stripe that are compared with the journal: how they are listed, and which events report their state.
Pure: the time is passed in.

Where an event is missing, one is built from the object. It has the type that Stripe would have sent and an id that is
derived from the object and its state, so that the same state is journaled once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from webhook_gateway.fields import JsonObject, integer, object_at, objects_at, signed_integer, text, timestamp, value_at

CLOSED_DISPUTES = frozenset({"won", "lost", "warning_closed", "prevented"})
_EVENT_ID = "evt_reconciled_"


class ObjectKind(StrEnum):
    """In the order in which they are compared: a charge after its refunds, and what moved money last."""

    SUBSCRIPTION = "subscription"
    CHECKOUT_SESSION = "checkout_session"
    PAYMENT_INTENT = "payment_intent"
    INVOICE = "invoice"
    REFUND = "refund"
    DISPUTE = "dispute"
    CHARGE = "charge"
    BALANCE_TRANSACTION = "balance_transaction"


@dataclass(frozen=True, kw_only=True)
class Listing:
    """`expand`: what is read with each object, without the `data.` of a list (at most four levels with it)."""

    path: str
    expand: Sequence[str] = ()
    params: Mapping[str, str] = field(default_factory=dict)


LISTINGS: Mapping[ObjectKind, Listing] = {
    # without a status, those that were canceled are not listed (Stripe SDK 16.1, SubscriptionListParams)
    ObjectKind.SUBSCRIPTION: Listing(path="/v1/subscriptions", params={"status": "all"}),
    ObjectKind.CHECKOUT_SESSION: Listing(
        path="/v1/checkout/sessions", expand=("payment_intent.latest_charge.balance_transaction",)
    ),
    ObjectKind.PAYMENT_INTENT: Listing(path="/v1/payment_intents", expand=("latest_charge.balance_transaction",)),
    ObjectKind.INVOICE: Listing(path="/v1/invoices", expand=("payments",)),
    ObjectKind.REFUND: Listing(path="/v1/refunds"),
    ObjectKind.DISPUTE: Listing(path="/v1/disputes"),
    ObjectKind.CHARGE: Listing(path="/v1/charges", expand=("balance_transaction",)),
    ObjectKind.BALANCE_TRANSACTION: Listing(path="/v1/balance_transactions"),
}

SOURCE_KINDS: Mapping[str, ObjectKind] = {
    "charge": ObjectKind.CHARGE,
    "payment": ObjectKind.CHARGE,
    "refund": ObjectKind.REFUND,
    "payment_refund": ObjectKind.REFUND,
}
"""The type of a balance transaction -> what its source is (Stripe SDK 16.1, BalanceTransaction.type). Fees, payouts and
transfers between the school's own accounts are no payments."""


def event_types(kind: ObjectKind, thing: JsonObject) -> Sequence[str]:
    """The types of the events that report what has become of the object. Empty while that is open: a session that can
    still be paid, an intent that is not captured, a draft."""
    status = text(thing, "status") or ""
    match kind:
        case ObjectKind.CHECKOUT_SESSION:
            if status == "complete" and _failed_debit(object_at(thing, "payment_intent")):
                return ("checkout.session.completed", "checkout.session.async_payment_failed")
            return _by_status(status, complete="checkout.session.completed", expired="checkout.session.expired")
        case ObjectKind.PAYMENT_INTENT:
            if _failed_debit(thing):
                return ("payment_intent.payment_failed",)
            return _by_status(
                status,
                succeeded="payment_intent.succeeded",
                processing="payment_intent.processing",
                canceled="payment_intent.canceled",
            )
        case ObjectKind.INVOICE:
            overpaid = ("invoice.overpaid",) if status == "paid" and integer(thing, "amount_overpaid") else ()
            found = _by_status(
                status, paid="invoice.paid", void="invoice.voided", uncollectible="invoice.marked_uncollectible"
            )
            return (*found, *overpaid)
        case ObjectKind.CHARGE:
            return ("charge.succeeded",) if status == "succeeded" and thing.get("captured") is True else ()
        case ObjectKind.REFUND:
            return ("refund.failed" if status == "failed" else "refund.created",)
        case ObjectKind.DISPUTE:
            return _dispute_types(thing, status)
        case ObjectKind.SUBSCRIPTION:
            ended = status in ("canceled", "incomplete_expired")
            return ("customer.subscription.deleted" if ended else "customer.subscription.updated",)
        case ObjectKind.BALANCE_TRANSACTION:
            return ()


def is_card_attempt(intent: JsonObject) -> bool:
    """Whether the last attempt was by card: it failed at once, and nothing has waited for it. Somebody who tries stolen
    cards makes thousands of them."""
    return text(intent, "last_payment_error", "payment_method", "type") == "card"


def _failed_debit(intent: JsonObject) -> bool:
    """Whether a payment that took days has failed."""
    failed = text(intent, "status") == "requires_payment_method" and object_at(intent, "last_payment_error")
    return bool(failed) and not is_card_attempt(intent)


def _by_status(status: str, **types: str) -> Sequence[str]:
    return (types[status],) if status in types else ()


def _dispute_types(dispute: JsonObject, status: str) -> Sequence[str]:
    found = ["charge.dispute.closed" if status in CLOSED_DISPUTES else "charge.dispute.created"]
    movements = [signed_integer(each, "amount") or 0 for each in objects_at(dispute, "balance_transactions")]
    if any(amount < 0 for amount in movements):
        found.append("charge.dispute.funds_withdrawn")
    if any(amount > 0 for amount in movements):
        found.append("charge.dispute.funds_reinstated")
    return found


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """What all events of one gateway have in common. `now` by our clock."""

    api_version: str
    livemode: bool
    account: str | None
    now: datetime

    def event(self, kind: ObjectKind, thing: JsonObject, type: str) -> JsonObject:
        """The event of that type, as Stripe lists it."""
        account = {} if self.account is None else {"account": self.account}
        return {
            "id": f"{_EVENT_ID}{text(thing, 'id', limit=255)}_{_state(kind, thing, type)}",
            "object": "event",
            "api_version": self.api_version,
            "created": int(occurred_at(kind, thing, now=self.now).timestamp()),
            "data": {"object": _with_ids(thing, LISTINGS[kind].expand)},
            "livemode": thing.get("livemode", self.livemode),  # refunds do not say
            "pending_webhooks": 0,
            "request": {"id": None, "idempotency_key": None},
            "type": type,
            **account,
        }


def _state(kind: ObjectKind, thing: JsonObject, type: str) -> str:
    name = type.rpartition(".")[2]
    if kind in (ObjectKind.REFUND, ObjectKind.DISPUTE, ObjectKind.SUBSCRIPTION) and not name.startswith("funds_"):
        return text(thing, "status", limit=30) or name
    return name


def occurred_at(kind: ObjectKind, thing: JsonObject, *, now: datetime) -> datetime:
    """When the object came into its state, or the nearest time that it names. The state of a dispute or subscription is
    as of `now`: an older event that comes later does not replace it."""
    created = timestamp(thing, "created") or now
    match kind:
        case ObjectKind.CHARGE:
            return _settled_at(thing) or created
        case ObjectKind.PAYMENT_INTENT:
            at = timestamp(thing, "canceled_at") if text(thing, "status") == "canceled" else None
            return at or _settled_at(object_at(thing, "latest_charge")) or created
        case ObjectKind.CHECKOUT_SESSION:
            return _settled_at(object_at(thing, "payment_intent", "latest_charge")) or created
        case ObjectKind.INVOICE:
            names = {"paid": "paid_at", "void": "voided_at", "uncollectible": "marked_uncollectible_at"}
            name = names.get(text(thing, "status") or "", "paid_at")
            return timestamp(thing, "status_transitions", name) or created
        case ObjectKind.DISPUTE:
            return max(now, created)  # a test clock may be ahead of ours
        case ObjectKind.SUBSCRIPTION:
            times = (timestamp(thing, name) for name in ("canceled_at", "ended_at"))
            return max(now, created, *(each for each in times if each is not None))
        case _:
            return created


def _settled_at(charge: JsonObject) -> datetime | None:
    """A bank debit's charge is created when it is submitted, its balance transaction when it succeeds."""
    return timestamp(charge, "balance_transaction", "created") or timestamp(charge, "created")


def _with_ids(thing: JsonObject, expanded: Sequence[str]) -> JsonObject:
    """The object with ids in place of what was expanded, as an event contains it. The payments of an invoice stay: they
    connect it with its intents."""
    names = {path.partition(".")[0] for path in expanded} - {"payments"}
    return {name: _id(value) if name in names else value for name, value in thing.items()}


def _id(value: Any) -> Any:  # Any: JSON
    return value_at(value, "id") if isinstance(value, dict) else value
