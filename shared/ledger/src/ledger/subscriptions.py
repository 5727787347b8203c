"""The state of a purchase's subscription, for any order of its events."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from contracts.payments import PaymentEvent, SubscriptionChanged, SubscriptionScheduleEnded
from ledger.payment import EARLIEST


def latest_state(facts: Iterable[PaymentEvent]) -> SubscriptionChanged | None:
    """An end is final, otherwise the latest `as_of` counts (None is the oldest)."""
    changes = [fact for fact in facts if isinstance(fact, SubscriptionChanged)]
    return max(changes, key=_order, default=None)


def has_ended(facts: Iterable[PaymentEvent]) -> bool:
    return any(
        (isinstance(fact, SubscriptionChanged) and _is_end(fact))
        or (isinstance(fact, SubscriptionScheduleEnded) and fact.outcome != "released")
        for fact in facts
    )


def _is_end(change: SubscriptionChanged) -> bool:
    return change.status in ("canceled", "incomplete_expired")


def _order(change: SubscriptionChanged) -> tuple[bool, datetime, str]:
    return _is_end(change), change.as_of or EARLIEST, change.model_dump_json()
