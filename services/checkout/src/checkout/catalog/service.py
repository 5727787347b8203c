"""Changes the catalog. Every change of an item increments its revision and is published, in the same commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, select, update
from sqlalchemy.dialects.postgresql import insert

from checkout.catalog.item import Item
from checkout.catalog.problems import IN_A_BUNDLE, PRICES_REQUIRED, UNKNOWN_PART
from checkout.catalog.repository import fields_of, items_of
from checkout.catalog.tables import bundle_items, items
from contracts.checkout import CatalogItemChanged
from kit.db.unit_of_work import UnitOfWork
from kit.http.problems import ProblemType

OFF_SALE = "off_sale"
"""The kind of job that closes the unpaid purchases of items that were taken off sale (`item_ids`)."""

_PRICES = ("price", "total_cost", "annual_price")


class InvalidItem(Exception):
    """The item cannot be stored like this. `detail` says why, without quoting the request; None: as the type does."""

    def __init__(self, type: ProblemType, detail: str | None = None) -> None:
        super().__init__(type.code)
        self.type = type
        self.detail = detail


async def parts_by_slug(uow: UnitOfWork, slugs: Sequence[str]) -> tuple[Item, ...]:
    """The parts of a bundle, in this order. They are locked: their currency cannot change until the commit.

    Raises InvalidItem for an unknown slug.
    """
    wanted = select(items).where(items.c.slug.in_(slugs)).order_by(items.c.id).with_for_update(read=True)
    found = {item.slug: item for item in await items_of(uow.db, (await uow.db.execute(wanted)).all())}
    if any(slug not in found for slug in slugs):
        raise InvalidItem(UNKNOWN_PART, "`includes` names an unknown item; GET /api/admin/items lists them.")
    return tuple(found[slug] for slug in slugs)


async def add(uow: UnitOfWork, item: Item, *, registered_at: datetime | None = None) -> bool:
    """Adds a new item. False when its slug, id or external id is taken."""
    values = {**columns_of(item), "registered_at": registered_at, "created_at": uow.now, "updated_at": uow.now}
    added = await uow.db.execute(insert(items).values(values).on_conflict_do_nothing())
    if added.rowcount == 0:
        return False
    if item.includes:
        parts = [{"bundle_id": item.id, "item_id": p.id, "position": n} for n, p in enumerate(item.includes)]
        await uow.db.execute(insert(bundle_items), parts)
    await publish(uow, item)
    return True


async def lock(uow: UnitOfWork, which: ColumnElement[bool]) -> Row[Any] | None:
    """The row of the item, locked together with those of the bundles that it is a part of, in the order in which
    `is_sold_at` locks them. None: no such item."""
    ids = select(items.c.id).where(which)
    bundles = select(bundle_items.c.bundle_id).where(bundle_items.c.item_id.in_(ids))
    both = select(items.c.id).where(items.c.id.in_(ids) | items.c.id.in_(bundles))
    await uow.db.execute(both.order_by(items.c.id).with_for_update())
    return (await uow.db.execute(select(items).where(which))).one_or_none()


async def change(uow: UnitOfWork, which: ColumnElement[bool], changes: Mapping[str, object]) -> Item | None:
    """Changes these fields of the item, and returns it; nothing is written when nothing differs. None: no such item.

    Raises ValidationError for what no item of its kind can be, and InvalidItem for what its bundles do not allow.
    """
    if (row := await lock(uow, which)) is None:
        return None
    if changes.get("currency", row.currency) != row.currency:
        others = [name for name in _PRICES if name not in changes and getattr(row, name) is not None]
        if others:
            raise InvalidItem(PRICES_REQUIRED, f"With another currency, send these too: {', '.join(others)}.")
    before = next(iter(await items_of(uow.db, [row])), None)  # None: what is stored is invalid
    bundles = await _bundles_with(uow, row.id)
    if bundles and changes.get("currency", row.currency) != row.currency:
        raise InvalidItem(IN_A_BUNDLE)
    parts = before.includes if before else await _parts_of(uow, row.id)
    after = Item.model_validate({**fields_of(row), "includes": parts, **changes})
    if before is not None and after == before:
        return before
    after = await _write(uow, after)
    if before is None or after.as_ref() != before.as_ref():
        bundles = [await _write(uow, bundle) for bundle in await _bundles_with(uow, after.id)]
    if row.active and not after.active:
        ids = [str(each.id) for each in (after, *bundles)]
        await uow.enqueue(OFF_SALE, key=f"{after.slug}/{after.revision}", payload={"item_ids": ids})
    return after


async def publish(uow: UnitOfWork, item: Item) -> None:
    """Publishes the item as it is. A revision is one event, however often it is published."""
    event = CatalogItemChanged(
        item=item.as_program(),
        price=item.money,
        active=item.active,
        revision=item.revision,
        projects=item.projects,
        category=item.category,
        owner_id=item.owner_id,
    )
    await uow.publish(event, id=f"catalog/{item.slug}/{item.revision}", subject=item.slug)


def columns_of(item: Item) -> dict[str, object]:
    """The item's columns in the table."""
    plain = item.model_dump(exclude={"includes", "projects", "payment_plan"})
    plan = None if item.payment_plan is None else item.payment_plan.model_dump(mode="json", exclude_none=True)
    return {**plain, "payment_plan": plan, "projects": [p.model_dump(mode="json") for p in item.projects]}


async def _write(uow: UnitOfWork, item: Item) -> Item:
    item = item.model_copy(update={"revision": item.revision + 1})
    values = {**columns_of(item), "updated_at": uow.now}
    await uow.db.execute(update(items).where(items.c.id == item.id).values(values))
    await publish(uow, item)
    return item


async def _bundles_with(uow: UnitOfWork, id: UUID) -> list[Item]:
    """The bundles that the item is a part of."""
    ids = select(bundle_items.c.bundle_id).where(bundle_items.c.item_id == id)
    wanted = select(items).where(items.c.id.in_(ids)).order_by(items.c.id)
    return await items_of(uow.db, (await uow.db.execute(wanted)).all())


async def _parts_of(uow: UnitOfWork, id: UUID) -> tuple[Item, ...]:
    """The valid parts of a bundle."""
    wanted = select(items).join(bundle_items, bundle_items.c.item_id == items.c.id)
    rows = await uow.db.execute(wanted.where(bundle_items.c.bundle_id == id).order_by(bundle_items.c.position))
    return tuple(await items_of(uow.db, rows.all()))
