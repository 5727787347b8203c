"""Memberships in the database. Writes increment the row's `revision`, so that a reader can tell that it changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.catalog.repository import Item, find_item, items_of_tier
from checkout.memberships.domain import ENDED, MembershipState
from checkout.memberships.tables import memberships
from checkout.purchases.domain import Interval
from checkout.schema import row_as
from contracts.people import ItemKind

_KINDS: tuple[ItemKind, ...] = ("membership",)


@dataclass(frozen=True, kw_only=True)
class Membership:
    """A row of `memberships`. `id` is the purchase's; `as_of`: the time of `state`."""

    id: UUID
    student_id: UUID
    item_id: UUID
    interval: Interval
    stripe_subscription_id: str
    stripe_price_id: str | None
    resumes_at: datetime | None
    as_of: datetime
    revision: int
    state: MembershipState


async def read(db: AsyncConnection, id: UUID) -> Membership | None:
    row = (await db.execute(select(memberships).where(memberships.c.id == id))).one_or_none()
    return None if row is None else membership_of(row)


async def lock(db: AsyncConnection, id: UUID) -> Membership | None:
    row = (await db.execute(select(memberships).where(memberships.c.id == id).with_for_update())).one_or_none()
    return None if row is None else membership_of(row)


async def running(db: AsyncConnection, student_id: UUID) -> Membership | None:
    """The student's membership that has not ended; the newest if there are several."""
    mine = (memberships.c.student_id == student_id, memberships.c.status.not_in(ENDED))
    newest = select(memberships).where(*mine).order_by(memberships.c.created_at.desc(), memberships.c.id).limit(1)
    row = (await db.execute(newest)).one_or_none()
    return None if row is None else membership_of(row)


async def member_tier(db: AsyncConnection, student_id: UUID) -> str | None:
    """The tier that the student has access to now; None without a membership."""
    live = memberships.c.status.in_(("active", "trialing")) & ~memberships.c.paused
    wanted = select(memberships.c.tier).where(memberships.c.student_id == student_id, live)
    return (await db.execute(wanted.order_by(memberships.c.updated_at.desc()).limit(1))).scalar_one_or_none()


async def add(
    db: AsyncConnection,
    id: UUID,
    state: MembershipState,
    *,
    student_id: UUID,
    item_id: UUID | None,
    interval: Interval | None,
    subscription_id: str,
    as_of: datetime,
    at: datetime,
) -> None:
    await db.execute(
        insert(memberships).values(
            id=id,
            student_id=student_id,
            item_id=item_id,
            interval=interval,
            stripe_subscription_id=subscription_id,
            status=state.status,
            tier=state.tier,
            cancel_at_period_end=state.cancel_at_period_end,
            paused=state.paused,
            current_period_end=state.current_period_end,
            ended_at=state.ended_at,
            as_of=as_of,
            created_at=at,
            updated_at=at,
        )
    )


async def write_state(db: AsyncConnection, id: UUID, state: MembershipState, *, as_of: datetime, at: datetime) -> None:
    await db.execute(
        update(memberships)
        .where(memberships.c.id == id)
        .values(
            status=state.status,
            tier=state.tier,
            cancel_at_period_end=state.cancel_at_period_end,
            paused=state.paused,
            current_period_end=state.current_period_end,
            ended_at=state.ended_at,
            as_of=as_of,
            revision=memberships.c.revision + 1,
            updated_at=at,
        )
    )


async def write_reading(
    db: AsyncConnection,
    id: UUID,
    *,
    interval: Interval,
    price_id: str,
    resumes_at: datetime | None,
    item_id: UUID | None,
) -> None:
    """What only Stripe says: what the subscription is charged by, and when a pause ends by itself. `item_id` None:
    nothing on sale has its tier, and the row keeps its item."""
    values = {"interval": interval, "stripe_price_id": price_id, "resumes_at": resumes_at}
    changed = update(memberships).where(memberships.c.id == id).values(values)
    await db.execute(changed if item_id is None else changed.values(item_id=item_id))


async def increment_revision(db: AsyncConnection, id: UUID, *, at: datetime) -> None:
    """Records that Stripe has answered a change: the next request is another one."""
    await db.execute(
        update(memberships).where(memberships.c.id == id).values(revision=memberships.c.revision + 1, updated_at=at)
    )


async def find_membership(db: AsyncConnection, reference: str) -> Item | None:
    """The active membership with this slug, id or tier. A tier that several memberships have selects none of them."""
    if (item := await find_item(db, reference, kinds=_KINDS)) is not None or "\x00" in reference:
        return item
    return _only_active(await items_of_tier(db, reference))


async def item_of_tier(db: AsyncConnection, tier: str, *, likely: Sequence[UUID | None]) -> Item | None:
    """The membership that gives this tier: the first of `likely` that does, else the only one on sale."""
    found = {item.id: item for item in await items_of_tier(db, tier)}
    named = [found[id] for id in likely if id in found]
    return named[0] if named else _only_active(list(found.values()))


def _only_active(found: Sequence[Item]) -> Item | None:
    active = [item for item in found if item.active]
    return active[0] if len(active) == 1 else None


def membership_of(row: Row[Any]) -> Membership:
    return row_as(Membership, row, state=row_as(MembershipState, row))
