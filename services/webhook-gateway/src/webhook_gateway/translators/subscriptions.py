"""customer.subscription.* and subscription_schedule.*"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast, get_args

from contracts.payments import (
    PaymentEvent,
    PaymentRefs,
    SubscriptionChanged,
    SubscriptionScheduleEnded,
    SubscriptionStatus,
)
from webhook_gateway.fields import JsonObject, object_at, object_id, objects_at, text, timestamp, value_at
from webhook_gateway.purchase import purchase_fields, purchase_or_refs, tier


def changed(subscription: JsonObject, _: JsonObject) -> PaymentEvent | None:
    refs = PaymentRefs(subscription=object_id(subscription, "id"), customer=object_id(subscription, "customer"))
    purchase, status = purchase_fields(subscription, refs), text(subscription, "status")
    if purchase is None or refs.subscription is None or status not in get_args(SubscriptionStatus):
        return None
    ends = [end for item in objects_at(subscription, "items", "data") if (end := timestamp(item, "current_period_end"))]
    return SubscriptionChanged(
        **purchase,
        status=cast(SubscriptionStatus, status),
        cancel_at_period_end=value_at(subscription, "cancel_at_period_end") is True,
        current_period_end=max(ends, default=None) or timestamp(subscription, "current_period_end"),
        ended_at=timestamp(subscription, "ended_at"),
        tier=tier(subscription),
        collection_paused=isinstance(value_at(subscription, "pause_collection"), Mapping),
        resumes_at=timestamp(subscription, "pause_collection", "resumes_at"),
    )


_OUTCOMES: Mapping[str, Literal["released", "canceled", "aborted"]] = {
    "subscription_schedule.released": "released",
    "subscription_schedule.canceled": "canceled",
    "subscription_schedule.aborted": "aborted",
}


def schedule_ended(schedule: JsonObject, event: JsonObject) -> PaymentEvent | None:
    """Published without metadata too: consumers find the plan by its subscription.

    Stripe SDK 16.1, SubscriptionSchedule.release: "releasing it will remove its subscription property and set the
    subscription's ID to the released_subscription property". The metadata of a phase is the subscription's while the
    phase lasts.
    """
    refs = PaymentRefs(
        subscription=object_id(schedule, "subscription") or object_id(schedule, "released_subscription"),
        customer=object_id(schedule, "customer"),
    )
    outcome = _OUTCOMES.get(text(event, "type") or "")
    if refs.subscription is None or outcome is None:
        return None
    metadata: dict[str, Any] = {}  # Any: JSON
    for each in (*objects_at(schedule, "phases"), schedule):
        metadata |= object_at(each, "metadata")
    purchase = purchase_or_refs({**schedule, "metadata": metadata}, refs)
    return SubscriptionScheduleEnded(**purchase, outcome=outcome)
