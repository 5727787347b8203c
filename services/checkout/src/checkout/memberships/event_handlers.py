"""A membership follows what Stripe says of its subscription, in whatever order that comes.

The row is the last word that is known. Two events of one second cannot be ordered by their time, so after each of
Stripe's the subscription itself is looked at (`syncing`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row

from checkout.memberships import repository
from checkout.topology import SERVICE
from contracts.envelope import Envelope
from contracts.payments import PaymentEvent, SubscriptionChanged
from kit.db.unit_of_work import UnitOfWork
from ledger.purchase import Purchase

SYNC = "membership_sync"
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


async def follow(uow: UnitOfWork, row: Row[Any], purchase: Purchase, heard: Envelope[PaymentEvent]) -> None:
    """Called for each purchase of which something is heard, with its row locked."""
    told = purchase.subscription
    if row.how != "membership" or told is None or told.refs.subscription is None:
        return
    await _keep(uow, row, told, told.refs.subscription)
    about_this = heard.data.refs.subscription in purchase.subscriptions
    if isinstance(heard.data, SubscriptionChanged) and about_this and heard.source != SERVICE:
        await uow.enqueue(SYNC, key=f"{heard.id}/sync", payload={"purchase_id": str(row.id)})


async def _keep(uow: UnitOfWork, row: Row[Any], told: SubscriptionChanged, subscription_id: str) -> None:
    known = await repository.lock(uow.db, row.id)
    values = after(known, told, tier=row.tier)
    if values is None:
        return
    if known is not None:
        await repository.write(uow.db, row.id, values, at=uow.now)
        return
    first = {
        "student_id": row.student_id,
        "item_id": row.item_id,
        "interval": row.interval,
        "stripe_subscription_id": subscription_id,
    }
    await repository.add(uow.db, row.id, {**first, **values}, at=uow.now)


def after(known: Any, told: SubscriptionChanged, *, tier: str) -> dict[str, Any] | None:
    """What the row says after the last word of all that was heard; None: what it said before. Pure.

    The row may know more than was heard: a look at Stripe is recorded in it at once. `tier`: the one that was bought.
    """
    as_of = told.as_of or _LONG_AGO
    if known is None:
        return {**word_of(told, tier=tier), "as_of": as_of}
    ended, had_ended = told.status in repository.ENDED, known.status in repository.ENDED
    if had_ended and not ended:
        return None  # an end is final, and was read at Stripe before its event has come
    if ended == had_ended and as_of < known.as_of:
        return None
    values = {**word_of(told, tier=known.tier), "as_of": max(as_of, known.as_of)}
    return values if any(getattr(known, name) != value for name, value in values.items()) else None


def word_of(told: SubscriptionChanged, *, tier: str) -> dict[str, Any]:
    """What a word says of a membership, by the columns that keep it. `tier`: the one known, where it does not say."""
    return {
        "status": told.status,
        "tier": told.tier or tier,
        "cancel_at_period_end": told.cancel_at_period_end,
        "paused": told.collection_paused,
        "current_period_end": told.current_period_end,
        "ended_at": told.ended_at,
    }
