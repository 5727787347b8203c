"""Finds items and sponsors in the database."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import structlog
from pydantic import ValidationError
from sqlalchemy import ColumnElement, Row, exists, select
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

log = structlog.get_logger(__name__)

_part = items.alias("part")
_parts_of_item = bundle_items.join(_part, _part.c.id == bundle_items.c.item_id)
ON_SALE = items.c.active & ~exists(
    select(_part.c.id)
    .select_from(_parts_of_item)
    .where(bundle_items.c.bundle_id == items.c.id, ~_part.c.active)
    .correlate(items)
)
"""Active, and if it is a bundle, so are all of its parts."""


async def find_item(db: AsyncConnection, reference: str, *, kinds: Collection[ItemKind] | None = None) -> Item | None:
    """The item on sale with this id, slug or external id, among these kinds.

    They are tried in this order. An external id that several kinds share selects none of them; give the kind.
    """
    return await _find(db, reference, kinds, ON_SALE)


async def find_any_item(db: AsyncConnection, reference: str, kinds: Collection[ItemKind] | None = None) -> Item | None:
    """Like `find_item`, including what is not on sale."""
    return await _find(db, reference, kinds)


async def programs_on_sale(db: AsyncConnection) -> list[Item]:
    wanted = select(items).where(ON_SALE, items.c.kind == "program")
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
    """Whether the item is on sale, and at this price (of a membership: one of its two) if one is given.

    The item and a bundle's parts cannot be changed until the transaction ends: a purchase that is inserted in it is
    among those that are closed when one of them is taken off sale.
    """
    parts = select(bundle_items.c.item_id).where(bundle_items.c.bundle_id == id)
    locked = select(items.c.id).where((items.c.id == id) | items.c.id.in_(parts)).order_by(items.c.id)
    await db.execute(locked.with_for_update(read=True))
    row = (await db.execute(select(items).where(items.c.id == id, ON_SALE))).one_or_none()
    if row is None or price is None:
        return row is not None
    return price.currency == row.currency and price.amount in (row.price, row.annual_price)


async def items_of(db: AsyncConnection, rows: Sequence[Row[Any]]) -> list[Item]:
    """The items of these rows, in their order, bundles with their parts. A row that is no valid item is left out, and
    so is a bundle with such a part: it cannot be sold until an admin has changed it."""
    parts: dict[UUID, list[Item]] = {row.id: [] for row in rows if row.kind == "bundle"}
    if parts:
        wanted = (
            select(bundle_items.c.bundle_id, items)
            .join(items, items.c.id == bundle_items.c.item_id)
            .where(bundle_items.c.bundle_id.in_(parts))
            .order_by(bundle_items.c.position)
        )
        for row in await db.execute(wanted):
            if (part := _valid(row)) is None:
                parts.pop(row.bundle_id, None)
            elif row.bundle_id in parts:
                parts[row.bundle_id].append(part)
    complete = [row for row in rows if row.kind != "bundle" or row.id in parts]
    found = (_valid(row, tuple(parts.get(row.id, ()))) for row in complete)
    return [item for item in found if item is not None]


def item_of(row: Row[Any], includes: tuple[Item, ...] = ()) -> Item:
    """Raises ValidationError for a row that is no valid item."""
    return Item.model_validate({**fields_of(row), "includes": includes})


def fields_of(row: Row[Any]) -> dict[str, object]:
    """The item's fields that are columns."""
    return {name: row._mapping[name] for name in Item.model_fields if name != "includes"}


def _valid(row: Row[Any], includes: tuple[Item, ...] = ()) -> Item | None:
    try:
        return item_of(row, includes)
    except ValidationError:
        log.error("stored item is invalid; it is not sold", slug=row.slug)
        return None


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
            return next(iter(await items_of(db, rows)), None)
    return None
