"""Finds items and sponsors in the database."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

# re-exported: callers that need items import only this module
from checkout.catalog.item import CODE as CODE
from checkout.catalog.item import SLUG as SLUG
from checkout.catalog.item import Item as Item
from checkout.catalog.item import PaymentPlan as PaymentPlan
from checkout.catalog.item import Sponsor as Sponsor
from checkout.catalog.tables import bundle_items, items, sponsors
from contracts.money import Money
from contracts.people import ItemKind


async def find_item(db: AsyncConnection, reference: str, *, kinds: Collection[ItemKind] | None = None) -> Item | None:
    """The active item with this id, slug or external id, among these kinds.

    They are tried in this order. An external id that several kinds share selects none of them; give the kind.
    """
    return await _find(db, reference, kinds, items.c.active)


async def find_any_item(db: AsyncConnection, reference: str, kinds: Collection[ItemKind] | None = None) -> Item | None:
    """Like `find_item`, including what is not on sale."""
    return await _find(db, reference, kinds)


async def active_programs(db: AsyncConnection) -> list[Item]:
    wanted = select(items).where(items.c.active, items.c.kind == "program")
    rows = (await db.execute(wanted.order_by(items.c.created_at, items.c.slug))).all()
    return await items_of(db, rows)


async def items_of_tier(db: AsyncConnection, tier: str) -> list[Item]:
    """The memberships that give this tier, also those that are not on sale."""
    wanted = select(items).where(items.c.kind == "membership", items.c.tier == tier)
    return await items_of(db, (await db.execute(wanted)).all())


async def slug_of(db: AsyncConnection, program_id: str) -> str | None:
    """The slug of the item with this id; None for an id of another system."""
    if (id := uuid_in(program_id)) is None:
        return None
    return (await db.execute(select(items.c.slug).where(items.c.id == id))).scalar_one_or_none()


async def find_sponsor(db: AsyncConnection, code: str, *, inactive: bool = False) -> Sponsor | None:
    """The active sponsor with this code, in any case; `inactive`: also one that is not active."""
    wanted = select(sponsors).where(sponsors.c.code == code.strip().upper())
    row = (await db.execute(wanted if inactive else wanted.where(sponsors.c.active))).one_or_none()
    if row is None:
        return None
    return Sponsor(code=row.code, name=row.name, finance_email=row.finance_email, active=row.active)


async def is_sold_at(db: AsyncConnection, id: UUID, price: Money | None) -> bool:
    """Whether the item is on sale, and at this price (of a membership: one of its two) if one is given."""
    row = (await db.execute(select(items).where(items.c.id == id, items.c.active))).one_or_none()
    if row is None or price is None:
        return row is not None
    return price.currency == row.currency and price.amount in (row.price, row.annual_price)


async def items_of(db: AsyncConnection, rows: Sequence[Row[Any]]) -> list[Item]:
    """The items of these rows, in their order, bundles with their parts."""
    parts: dict[UUID, list[Item]] = {row.id: [] for row in rows if row.kind == "bundle"}
    if parts:
        wanted = (
            select(bundle_items.c.bundle_id, items)
            .join(items, items.c.id == bundle_items.c.item_id)
            .where(bundle_items.c.bundle_id.in_(parts))
            .order_by(bundle_items.c.position)
        )
        for part in await db.execute(wanted):
            parts[part.bundle_id].append(item_of(part))
    return [item_of(row, tuple(parts.get(row.id, ()))) for row in rows]


def item_of(row: Row[Any], includes: tuple[Item, ...] = ()) -> Item:
    columns = {name: row._mapping[name] for name in Item.model_fields if name != "includes"}
    return Item.model_validate({**columns, "includes": includes})


def uuid_in(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


async def _find(
    db: AsyncConnection, reference: str, kinds: Collection[ItemKind] | None, *only: ColumnElement[bool]
) -> Item | None:
    if "\x00" in reference:
        return None
    limits = (*only, *((items.c.kind.in_(kinds),) if kinds is not None else ()))
    named = [items.c.slug == reference, items.c.external_id == reference]
    if (id := uuid_in(reference)) is not None:
        named.insert(0, items.c.id == id)
    for name in named:
        rows = (await db.execute(select(items).where(name, *limits).limit(2))).all()
        if len(rows) == 1:
            return (await items_of(db, rows))[0]
    return None
