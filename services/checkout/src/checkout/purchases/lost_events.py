"""Finds payments whose webhook was lost: what is open here for too long is looked at in Stripe.

Where Stripe says that the object is not open any more, its events are asked for (event_requests.py). An object that is
still open is looked at again later, each time after twice as long, up to a day.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Integer, Select, cast, func, literal, select, union_all
from sqlalchemy.dialects.postgresql import insert

from checkout.purchases.event_requests import request_events
from checkout.purchases.tables import purchases, stripe_checks
from checkout.stripe_client import Stripe, StripeRejected, StripeUnavailable
from checkout.topology import SERVICE
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.messaging.retention import Expiry
from kit.runtime.sweeps import repeat

log = structlog.get_logger(__name__)

OPEN_TOO_LONG = timedelta(minutes=30)
SWEEP_SECONDS = 60.0
_BATCH = 50
_LONGEST = timedelta(days=1)
_DOUBLINGS = 10

OLD_CHECKS = Expiry(table="stripe_checks", column="next_at", keep=timedelta(days=7))
"""An open object's check is never that late: the object is open no more."""

OpenObjects = Select[Any]
"""Rows of `object_id`, since when it is open (`since`), and whether its payment is being processed (`processing`)."""


def open_purchases() -> OpenObjects:
    """Pages and intents that wait for their payer, or for a bank. (Not what is underpaid: Stripe has nothing open.)"""
    object_id = func.coalesce(purchases.c.stripe_checkout_session_id, purchases.c.stripe_payment_intent_id)
    return select(
        object_id.label("object_id"),
        purchases.c.created_at.label("since"),
        (purchases.c.state == "processing").label("processing"),
    ).where(
        purchases.c.state.in_(("session_open", "awaiting_payment", "processing")),
        purchases.c.state_reason.is_(None),
        object_id.is_not(None),
    )


class LostEvents:
    """Any number of these may run side by side: an object is looked at by one of them."""

    def __init__(
        self,
        database: Database,
        stripe: Stripe,
        sources: Sequence[OpenObjects],
        *,
        open_too_long: timedelta = OPEN_TOO_LONG,
        seconds: float = SWEEP_SECONDS,
    ) -> None:
        self._database = database
        self._stripe = stripe
        self._sources = sources
        self._open_too_long = open_too_long
        self._seconds = seconds

    async def run(self, stop: asyncio.Event) -> None:
        async def sweep() -> bool:
            return self._stripe.configured and await self.sweep(now=utc_now()) == _BATCH

        await repeat(sweep, stop, name="lost events", seconds=self._seconds)

    async def sweep(self, *, now: datetime) -> int:
        """The number of objects that were looked at. Raises StripeUnavailable: the rest is looked at next time."""
        due = await self._take(now)
        for object_id, processing in due:
            if await self._has_changed(object_id, processing=processing):
                log.warning("events of Stripe are missing", object=object_id)
                async with self._database.transaction() as db:
                    await request_events(UnitOfWork(db=db, source=SERVICE, now=now), object_id)
        return len(due)

    async def _take(self, now: datetime) -> list[tuple[str, bool]]:
        """What is due, each with whether its payment is being processed. It is due again later in any case."""
        found = union_all(*self._sources).subquery()
        checks = stripe_checks
        # Looked up for each: few objects are open, but the planner may expect many and read all checks there ever were.
        of_object = select(checks.c.next_at).where(checks.c.object_id == found.c.object_id).scalar_subquery()
        next_at = func.coalesce(of_object, found.c.since + self._open_too_long)
        due = (
            select(found.c.object_id, func.bool_and(found.c.processing).label("processing"))
            .where(next_at <= now)
            .group_by(found.c.object_id)
            .order_by(func.min(next_at))
            .limit(_BATCH)
        )
        async with self._database.transaction() as db:
            candidates = {row.object_id: bool(row.processing) for row in await db.execute(due)}
            if not candidates:
                return []
            first = insert(checks).values(
                [{"object_id": id, "checks": 1, "next_at": now + 2 * self._open_too_long} for id in sorted(candidates)]
            )
            doubled = func.power(2, func.least(checks.c.checks + 1, _DOUBLINGS))
            seconds = func.least(self._open_too_long.total_seconds() * doubled, _LONGEST.total_seconds())
            taken = await db.execute(
                first.on_conflict_do_update(
                    index_elements=["object_id"],
                    set_={
                        "checks": cast(checks.c.checks + 1, Integer),
                        "next_at": literal(now) + func.make_interval(0, 0, 0, 0, 0, 0, seconds),
                    },
                    where=checks.c.next_at <= now,
                ).returning(checks.c.object_id)
            )
            return [(id, candidates[id]) for id in sorted(taken.scalars())]

    async def _has_changed(self, object_id: str, *, processing: bool) -> bool:
        """Whether Stripe's object is not what is stored here: it can be paid, or is being processed."""
        try:
            match object_id.split("_")[0]:
                case "cs":
                    session = await self._stripe.session(object_id)
                    if session.status == "open" or not processing:
                        return session.status != "open"
                    return session.paid or await self._has_settled(session.intent_id)
                case "pi":
                    status = (await self._stripe.intent(object_id)).status
                    return status in ("succeeded", "canceled") or (status == "processing") is not processing
                case "in":
                    return (await self._stripe.invoice(object_id)).status in ("paid", "void", "uncollectible")
                case _:
                    return False
        except StripeUnavailable:
            raise
        except StripeRejected as rejected:  # of another account, or deleted
            log.warning("open object not found at Stripe", object=object_id, code=rejected.code)
            return False

    async def _has_settled(self, intent_id: str | None) -> bool:
        return intent_id is not None and (await self._stripe.intent(intent_id)).status != "processing"
