"""Memberships in the database. Every write counts the row's `revision` up: who has seen an older one looks again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.catalog.repository import Item, find_item, items_of
from checkout.catalog.tables import items
from checkout.memberships.tables import memberships
from contracts.people import ItemKind

ENDED = ("canceled", "incomplete_expired")
_KINDS: tuple[ItemKind, ...] = ("membership",)


async def read(db: AsyncConnection, id: UUID) -> Row[Any] | None:
    return (await db.execute(select(memberships).where(memberships.c.id == id))).one_or_none()


async def lock(db: AsyncConnection, id: UUID) -> Row[Any] | None:
    return (await db.execute(select(memberships).where(memberships.c.id == id).with_for_update())).one_or_none()


async def running(db: AsyncConnection, student_id: UUID) -> Row[Any] | None:
    """The student's membership that has not ended; the newest, should there be two."""
    mine = (memberships.c.student_id == student_id, memberships.c.status.not_in(ENDED))
    newest = select(memberships).where(*mine).order_by(memberships.c.created_at.desc(), memberships.c.id).limit(1)
    return (await db.execute(newest)).one_or_none()


async def member_tier(db: AsyncConnection, student_id: UUID) -> str | None:
    """The tier that the student has access to now; None without a membership."""
    live = memberships.c.status.in_(("active", "trialing")) & ~memberships.c.paused
    wanted = select(memberships.c.tier).where(memberships.c.student_id == student_id, live)
    return (await db.execute(wanted.order_by(memberships.c.updated_at.desc()).limit(1))).scalar_one_or_none()


async def add(db: AsyncConnection, id: UUID, values: Mapping[str, Any], *, at: datetime) -> None:
    await db.execute(insert(memberships).values(id=id, **values, created_at=at, updated_at=at))


async def write(db: AsyncConnection, id: UUID, values: Mapping[str, Any], *, at: datetime) -> None:
    counted = {"revision": memberships.c.revision + 1, "updated_at": at}
    await db.execute(update(memberships).where(memberships.c.id == id).values(**values, **counted))


async def find_membership(db: AsyncConnection, reference: str) -> Item | None:
    """The active membership with this slug, id or tier. A tier that several have names none of them."""
    if (item := await find_item(db, reference, kinds=_KINDS)) is not None or "\x00" in reference:
        return item
    return _only_active(await _of_tier(db, reference))


async def item_of_tier(db: AsyncConnection, tier: str, *, likely: Sequence[UUID | None]) -> Item | None:
    """The membership that gives this tier: the first of the likely ones that does, else the only one that is sold."""
    found = {item.id: item for item in await _of_tier(db, tier)}
    named = [found[id] for id in likely if id in found]
    return named[0] if named else _only_active(list(found.values()))


async def _of_tier(db: AsyncConnection, tier: str) -> list[Item]:
    wanted = select(items).where(items.c.kind.in_(_KINDS), items.c.tier == tier)
    return await items_of(db, (await db.execute(wanted)).all())


def _only_active(found: Sequence[Item]) -> Item | None:
    active = [item for item in found if item.active]
    return active[0] if len(active) == 1 else None
