"""The catalog's items: what revenue is grouped by."""

from __future__ import annotations

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.checkout import CatalogItemChanged
from reporting.tables import catalog_items


async def update(db: AsyncConnection, changed: CatalogItemChanged) -> None:
    """Unless a later revision is stored."""
    statement = insert(catalog_items).values(
        slug=changed.item.slug,
        name=changed.item.title,
        category=changed.category,
        owner_id=changed.owner_id,
        revision=changed.revision,
    )
    new = statement.excluded
    await db.execute(
        statement.on_conflict_do_update(
            index_elements=["slug"],
            set_={"name": new.name, "category": new.category, "owner_id": new.owner_id, "revision": new.revision},
            where=catalog_items.c.revision < new.revision,
        )
    )
