"""The catalog on the day that the school starts, and the news of it."""

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
    """As the file has it. A bundle's `includes` are slugs of items that stand before it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: tuple[Item, ...]
    sponsors: tuple[Sponsor, ...]

    @model_validator(mode="before")
    @classmethod
    def _parts(cls, data: Any) -> Any:
        known: dict[str, Any] = {}
        for item in data["items"]:
            known[item["slug"]] = {**item, "includes": [known[slug] for slug in item.get("includes", ())]}
        return {**data, "items": list(known.values())}


def checked_in() -> Catalog:
    return Catalog.model_validate(yaml.safe_load(_FILE.read_text()))


async def load(database: Database, catalog: Catalog) -> None:
    """Adds what the database does not have; what it has stays as it is.

    All items are said, each at the revision that it has: what was said before is the same event, and what was sold
    before items were events (or is new to a listener since) is heard of too.
    """
    async with database.transaction() as db:
        uow = UnitOfWork(db=db, source=SERVICE, now=utc_now())
        for item in catalog.items:
            parts = await service.parts_by_slug(uow, [part.slug for part in item.includes])  # as they are here
            await service.add(uow, item.model_copy(update={"includes": parts}))
        for sponsor in catalog.sponsors:
            await db.execute(insert(sponsors).values(**sponsor.model_dump()).on_conflict_do_nothing())
        rows = (await db.execute(select(items).order_by(items.c.created_at, items.c.slug))).all()
        for item in await items_of(db, rows):
            await service.say(uow, item)
