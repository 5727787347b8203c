"""Loads the checked-in catalog into the database, and publishes all items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, model_validator
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from checkout.catalog import service
from checkout.catalog.item import Item, Sponsor
from checkout.catalog.repository import items_of
from checkout.catalog.tables import items, sponsors
from checkout.topology import SERVICE
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now

_FILE = Path(__file__).with_name("catalog.yaml")


class Catalog(BaseModel):
    """The file. A bundle's `includes` are slugs of items that precede it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: tuple[Item, ...]
    sponsors: tuple[Sponsor, ...]

    @model_validator(mode="before")
    @classmethod
    def _parts(cls, data: Any) -> Any:  # what the YAML file has, before it is validated
        by_slug: dict[str, Any] = {}
        for item in data["items"]:
            by_slug[item["slug"]] = {**item, "includes": [by_slug[slug] for slug in item.get("includes", ())]}
        return {**data, "items": list(by_slug.values())}


def checked_in() -> Catalog:
    return Catalog.model_validate(yaml.safe_load(_FILE.read_text()))


async def load(database: Database, catalog: Catalog) -> None:
    """Adds what the database does not have; what it has stays unchanged.

    All items are published at their current revision. What was published before is the same event, and a consumer that
    is new since then learns of every item.
    """
    async with database.transaction() as db:
        uow = UnitOfWork(db=db, source=SERVICE, now=utc_now())
        existing = set((await db.execute(select(items.c.slug))).scalars())
        for item in catalog.items:
            if item.slug in existing:
                continue
            parts = await service.parts_by_slug(uow, [part.slug for part in item.includes])  # as the database has them
            await service.add(uow, item.model_copy(update={"includes": parts}))
        for sponsor in catalog.sponsors:
            await db.execute(insert(sponsors).values(sponsor.model_dump()).on_conflict_do_nothing())
        rows = (await db.execute(select(items).order_by(items.c.created_at, items.c.slug))).all()
        for item in await items_of(db, rows):
            await service.publish(uow, item)
