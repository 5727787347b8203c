"""Changes the catalog. Every change of an item increments its revision and is published, in the same commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.dialects.postgresql import insert

from checkout.catalog.item import Item
from checkout.catalog.repository import items_of
from checkout.catalog.tables import bundle_items, items
from contracts.checkout import CatalogItemChanged
from kit.db.unit_of_work import UnitOfWork


class InvalidItem(Exception):
    """The item cannot be stored like this. `detail` says why, without quoting the request."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


async def parts_by_slug(uow: UnitOfWork, slugs: Sequence[str]) -> tuple[Item, ...]:
    """The parts of a bundle, in this order. They are locked: their currency cannot change until the commit.

    Raises InvalidItem for an unknown slug.
    """
    wanted = select(items).where(items.c.slug.in_(slugs)).order_by(items.c.id).with_for_update(read=True)
    found = {item.slug: item for item in await items_of(uow.db, (await uow.db.execute(wanted)).all())}
    if any(slug not in found for slug in slugs):
        raise InvalidItem("unknown_item", "`includes` names an unknown item; GET /api/admin/items lists them.")
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


async def change(uow: UnitOfWork, which: ColumnElement[bool], changes: Mapping[str, object]) -> Item | None:
    """Changes these fields of the item, and returns it; nothing is written when nothing differs. None: no such item.

    Raises ValidationError for what no item of its kind can be, and InvalidItem for what its bundles do not allow.
    """
    row = (await uow.db.execute(select(items).where(which).with_for_update())).one_or_none()
    if row is None:
        return None
    (before,) = await items_of(uow.db, [row])
    bundles = await _bundles_with(uow, before)
    if bundles and changes.get("currency", before.currency) != before.currency:
        raise InvalidItem("in_a_bundle", "This item is part of a bundle; both have the same currency.")
    after = Item.model_validate({**dict(before), **changes})
    if after == before:
        return before
    after = await _write(uow, after)
    if after.as_ref() != before.as_ref():
        for bundle in await _bundles_with(uow, after):
            await _write(uow, bundle)
    return after


async def publish(uow: UnitOfWork, item: Item) -> None:
    """Publishes the item as it is. A revision is one event, however often it is published."""
    event = CatalogItemChanged(
        item=item.as_program(),
        price=item.money,
        active=item.active,
        revision=item.revision,
        projects=item.projects,
    )
    await uow.publish(event, id=f"catalog/{item.slug}/{item.revision}", subject=item.slug, mandatory=True)


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


async def _bundles_with(uow: UnitOfWork, item: Item) -> list[Item]:
    """The bundles that this item is a part of, locked."""
    ids = select(bundle_items.c.bundle_id).where(bundle_items.c.item_id == item.id)
    wanted = select(items).where(items.c.id.in_(ids)).order_by(items.c.id).with_for_update()
    return await items_of(uow.db, (await uow.db.execute(wanted)).all())
